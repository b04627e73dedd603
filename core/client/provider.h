/* What makes the machine behind a sandbox. One table per provider.
 *
 * Every function runs with the client's lock. Those that get an op end it, now or later (op_done, op_fail),
 * never block longer than a few milliseconds, and stop their work in op->end when it ends early. options, id
 * and their like belong to the caller and are valid only until the function returns. */
#ifndef CLIENT_PROVIDER_H
#define CLIENT_PROVIDER_H

#include "client/op.h"
#include "client/sandbox.h"
#include "hfsandbox/hfsandbox.h"

struct provider {
    const char *name;

    /* Once, by sbx_client_new, without touching the machine; may set client->provider_data. */
    sbx_status (*client_new)(struct sbx_client *client, sbx_error *err);
    void (*client_free)(struct sbx_client *client); /* the last reference is gone; the lock is not held */

    /* Sets op->out.sandbox (made by sandbox_new, with one reference for the caller) and ends the op. options
       is complete and its size and enumerations are checked. A failed or early ended op leaves nothing
       running. */
    void (*create)(struct op *op, const sbx_sandbox_options *options);
    void (*connect)(struct op *op, const char *id);

    void (*kill)(struct op *op, struct sbx_sandbox *sandbox); /* done = confirmed, also when it was dead
                                                                 already; calls sandbox_died */
    void (*kill_by_id)(struct op *op, const char *id);        /* the same without a handle */
    /* The last reference is gone: end an attached machine without waiting longer than a few milliseconds
       (what is left goes on in the background, io_background, holding the client), let go of a detached one.
       Frees sandbox->machine, not the sandbox. */
    void (*close)(struct sbx_sandbox *sandbox);

    /* NULL, or members of sbx_sandbox_info, each with a comma before it. */
    void (*describe)(const struct sbx_sandbox *sandbox, struct buf *out);

    void (*list)(struct op *op, const sbx_filter *filter); /* op->out.sandboxes */
    void (*reap)(struct op *op, const sbx_filter *filter); /* op->out.number */
};

extern const struct provider provider_local;
extern const struct provider provider_jobs;

const struct provider *provider_find(const char *name); /* NULL: unknown */

#endif
