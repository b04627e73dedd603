/* Pools as the command line names them, and sandboxes in them. */
#ifndef CLI_POOLS_H
#define CLI_POOLS_H

#include "options.h"
#include "session.h"

/* A pool that is there, by NAME or NAMESPACE/NAME; NULL: said why. */
sbx_pool *pools_connect(struct session *s, const struct options *o, const char *text);

/* A new sandbox in the pool of --pool; NULL: said why. */
sbx_sandbox *pools_sandbox(struct session *s, const struct options *o, bool detached);

/* Likewise without a word: the caller says what matters of *err. */
sbx_status pools_try(sbx_pool **out, struct session *s, const char *name, const sbx_pool_options *options,
                     int64_t timeout_ms, sbx_error *err);

/* A handle to end a pool of provider jobs by: no host need answer, or be there. NULL: said why. */
sbx_pool *pools_handle(struct session *s, const char *hub_namespace, const char *name);

/* "NAMESPACE/NAME" → both; "NAME" → the one that --namespace says, or NULL. False: they contradict each
 * other, said. */
struct pools_name {
    char text[256]; /* what the others point into */
    const char *hub_namespace, *name;
};
bool pools_parse(struct pools_name *out, const struct options *o, const char *text);

/* --start-timeout for sbx_pool_options; of provider local, which has none, 0. */
int64_t pools_start_ms(const struct session *s, const struct options *o);

#endif
