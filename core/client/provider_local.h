/* A creation that others begin than sbx_sandbox_create. Lock held. */
#ifndef CLIENT_PROVIDER_LOCAL_H
#define CLIENT_PROVIDER_LOCAL_H

#include "client/op.h"

/* As struct provider's create, of a sandbox with a record (options say detached). pool: named there, may be
   NULL. ends: all the same it ends with its handle. */
void provider_local_create(struct op *op, const sbx_sandbox_options *options, const char *pool, bool ends);

#endif
