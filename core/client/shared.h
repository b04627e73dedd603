/* A sandbox on a host, behind the handle that any other sandbox has. Its id is "HOST.NAME". Lock held. */
#ifndef CLIENT_SHARED_H
#define CLIENT_SHARED_H

#include "client/job_host.h"
#include "client/provider.h"

#define SHARED_NAME_SIZE 65 /* of a sandbox on its host */

struct json;

struct shared {                 /* sbx_sandbox.machine */
    struct shared *next, *prev; /* of the host */
    struct host *host;          /* held */
    struct sbx_sandbox *sandbox;
    char name[SHARED_NAME_SIZE];
    char isolation[32]; /* as its host says; "" = it does not */
    bool owned;         /* ends with its handle */
    bool ended;
    struct host_call *doubt; /* is it still there? */
    void (*gone)(void *ctx, struct host *host,
                 bool ended); /* once: ended, or (false) the handle was given back; NULL = nobody cares */
    void *ctx;
};

/* What a host says of a sandbox of its own. */
struct shared_item {
    char name[SHARED_NAME_SIZE];
    char token[256]; /* "" = none: the host's is taken */
    char isolation[32];
};
bool shared_parse(struct shared_item *out, const struct json *item); /* false: this is none */

/* The handle, one reference. plain: the id goes without the namespace. NULL: no memory. */
struct sbx_sandbox *shared_new(struct host *host, const struct shared_item *item, bool plain, bool owned);
struct shared *shared_of(const struct sbx_sandbox *sandbox);

/* It was ended by other means than its handle: those that there are say so. */
void shared_ended(struct host *host, const char *name);
void shared_host_died(struct host *host); /* ends the handles of all its sandboxes */

/* Ends a sandbox by its name in the background. */
void shared_end(struct host *host, const char *name);
/* At the program's end: those that would end with their handles. */
void shared_end_owned(struct host *host);

/* "[NAMESPACE/]HOST.NAME" in its parts; false: it has no such form. */
bool shared_split_id(const char *id, char host[200], char name[SHARED_NAME_SIZE]);

extern const struct provider provider_shared; /* kill, close and describe alone */

#endif
