/* A sandbox inside: reachable through its endpoint, kept by its provider. */
#ifndef CLIENT_SANDBOX_H
#define CLIENT_SANDBOX_H

#include "client/endpoint.h"
#include "client/error.h"
#include "hfsandbox/hfsandbox.h"

struct buf;
struct provider;

struct sbx_sandbox {
    int refs;                        /* guarded by the lock */
    struct sbx_client *client;       /* kept alive */
    const struct provider *provider; /* NULL: made by sbx_sandbox_connect_endpoint */
    void *machine;                   /* the provider's own; freed by its close */
    char *id;
    struct endpoint endpoint;
    bool detached; /* goes on when the handle is freed */
    sbx_timings timings;
    bool dead; /* calls fail with death */
    sbx_error death;
    /* The agent has refused a call; true: whether that is because the sandbox has ended is being looked at,
       and sandbox_died may follow. NULL = it does not mean that. */
    bool (*in_doubt)(struct sbx_sandbox *sandbox, int http_status);
    void (*on_death)(void *ctx); /* after all calls have been told; NULL = nobody cares */
    void *death_ctx;
    struct op *ops;                /* under way */
    struct sbx_process *processes; /* those with a handle or a stream */
    struct sbx_sandbox *next, *prev;
};

/* Lock held. Takes over *endpoint (also on failure). One reference, the caller's. NULL: no memory. */
struct sbx_sandbox *sandbox_new(struct sbx_client *client, const struct provider *provider, void *machine,
                                const char *id, struct endpoint *endpoint);
void sandbox_hold(struct sbx_sandbox *sandbox);
void sandbox_release(struct sbx_sandbox *sandbox); /* lock held; the last one calls provider->close */

/* The agent has ended or was ended: every call under way and later fails with SBX_ERROR_AGENT and this
 * reason. Idempotent. Lock held. */
void sandbox_died(struct sbx_sandbox *sandbox, const char *format, ...) __attribute__((format(printf, 2, 3)));

bool sandbox_in_doubt(struct sbx_sandbox *sandbox, int http_status);

sbx_status sandbox_check(const struct sbx_sandbox *sandbox, const char *function, sbx_error *err);

/* Asks the agent what it can do, then ends the op with the handle, whose one reference is taken over. Lock
 * held. */
void sandbox_endpoint_probe(struct op *op, struct sbx_sandbox *sandbox);
/* The features that a /health answer names. */
struct json;
unsigned sandbox_endpoint_features(const struct json *health);
/* Ends an agent that no provider keeps; the op is done when nothing answers there any more. Lock held. */
void sandbox_endpoint_end(struct op *op);

/* What makes no sense, whatever the provider. */
sbx_status sandbox_check_options(const sbx_sandbox_options *options, const char *name, sbx_error *err);

/* Results built by providers. */
sbx_pool_list *pool_list_new(void);                               /* NULL: no memory */
bool pool_list_add(sbx_pool_list *list, const sbx_pool_row *row); /* copies; false: no memory */
sbx_bytes *sandbox_bytes(struct buf *data);                       /* takes the bytes over; NULL: no memory */
sbx_sandbox_list *sandbox_list_new(void);                         /* NULL: no memory */
bool sandbox_list_add(sbx_sandbox_list *list, const sbx_sandbox_info_row *row); /* copies; false: no memory */

#endif
