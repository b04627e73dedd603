/* Local sandboxes of a pool: each has a record, which names the pool, and so is found from other programs;
   one that is attached all the same ends with its handle and its program. Lock held. */
#ifndef CLIENT_LOCAL_POOL_H
#define CLIENT_LOCAL_POOL_H

#include <stdbool.h>

#include "client/op.h"

struct local_pool_options {
    sbx_sandbox_options options; /* its texts are owned */
    const char *pool;            /* outlives it */
};

bool local_pool_options_copy(struct local_pool_options *out, const sbx_sandbox_options *options,
                             const char *pool);                            /* false: no memory */
void local_pool_options_free(struct local_pool_options *o);                /* wipes values */
void local_pool_create(struct op *op, const struct local_pool_options *o); /* as struct provider's create */
struct machine;
void local_pool_keep(const struct machine *m); /* one that ends with its handle, and so with the program */
void local_pool_forget(const struct machine *m);
bool local_pool_owns(const struct sbx_client *client,
                     const char *id); /* one of this client's that ends with its handle */

#endif
