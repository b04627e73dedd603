/* The client handle inside. */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include <stdatomic.h>
#include <sys/types.h>

#include "client/error.h"
#include "client/io.h"
#include "client/parting.h"
#include "hfsandbox/hfsandbox.h"

struct client_hub {                                   /* as given */
    char *endpoint, *token, *hub_namespace, *ca_file; /* NULL = not given */
    bool no_telemetry;
};

struct sbx_client {
    atomic_int refs;
    atomic_bool ending; /* the program ends: no call begins any more */
    pid_t pid;          /* who made it: after fork nothing may be done with it */
    struct io io;
    struct transport *transport;
    const struct provider *provider;
    void *provider_data; /* the provider's own; freed by its client_free */
    char *agent_path;    /* as given in the options; NULL = not given */
    char *runtime_dir;
    bool ca_known;
    char *ca_file; /* for libcurl, once it is known; NULL = its own */
    struct client_hub hub_options;
    sbx_log_hook *log;
    void *log_user;
    sbx_log_level log_level;
    char key_name[33]; /* of client keys: "<key_name>.<number>" */
    uint64_t key_last;
    struct sbx_sandbox *sandboxes;    /* those with a handle, a process or an op */
    size_t parting[PARTING_KINDS];    /* under way */
    struct io_waiter *parting_waiter; /* sbx_client_free waits for them */
};

/* NULL, or inherited over fork: fills err. Takes no lock. */
sbx_status client_check(const struct sbx_client *client, const char *function, sbx_error *err);
bool client_is_ours(const struct sbx_client *client); /* false after fork */

/* Before the first connection with TLS. Idempotent. */
sbx_status client_find_ca(struct sbx_client *client, sbx_error *err);

void client_hold(struct sbx_client *client);
void client_release(struct sbx_client *client);        /* without the lock */
void client_release_locked(struct sbx_client *client); /* when somebody else surely still holds one */

void client_lock(struct sbx_client *client);
void client_unlock(struct sbx_client *client);

void client_key(struct sbx_client *client, char out[64]); /* the next client key */

#endif
