/* Calls of the Hub's API: with the token, repeated where that is safe, its errors in words. Lock held
 * throughout.
 *
 * Nothing is repeated after the Hub may have acted on it, unless the call says that this is harmless. 429 was
 * no act. No redirect is followed. */
#ifndef CLIENT_HUB_H
#define CLIENT_HUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/endpoint.h"
#include "client/error.h"
#include "util/buf.h"

struct sbx_client;
struct hub_call;

struct hub {
    struct sbx_client *client;
    struct endpoint endpoint;
    char *token;
    const char *token_source; /* static */
    bool offline;
    unsigned active;               /* calls that are at the Hub */
    struct hub_call *first, *last; /* those that wait for their turn */
    uint64_t random;
};

/* What became of a call. */
struct hub_reply {
    sbx_status status; /* SBX_OK: 2xx, or the status that the call accepts */
    int http_status;   /* of the last answer; 0 = none came */
    bool unsure;       /* failed, and the Hub may have acted on it */
    int64_t asked_ms;  /* failed, and this is how long the Hub wants to be left alone; -1 = it does not say */
    int64_t date_ms;   /* the Hub's clock then, in whole seconds since 1970; 0 = it does not say */
    const struct buf *body; /* NUL-terminated; "" when there is none */
    const char *next;       /* the target of the next page; NULL = this is the last one */
    sbx_error error;        /* when status is not SBX_OK */
};

struct hub_call_spec {
    const char *method;    /* these three are literals */
    const char *log_route; /* "jobs/:ns/:id" */
    const char *what;      /* "creating the job": begins error messages */
    const char *name;      /* the public function, before that; a literal, or NULL */
    const char *target;    /* "/api/…"; copied */
    const void *body;      /* JSON, copied; NULL = none */
    size_t body_len;
    bool urgent;                /* does not wait for its turn */
    bool repeatable;            /* twice is the same as once */
    int accepts;                /* an error status that is an answer; 0 = none */
    int64_t deadline;           /* no attempt begins after it; the caller ends the call then */
    size_t max_reply;           /* 0 = 8 MiB */
    const char *const *secrets; /* for no error text; NULL-terminated, outlives the call; NULL = the token */
    /* Streams a 2xx body instead of keeping it; false ends the call well. */
    bool (*on_data)(void *ctx, const char *data, size_t len);
    void (*done)(void *ctx, const struct hub_reply *reply); /* once; the call is gone then */
    void *ctx;
};

/* option NULL = as settings.h and token.h say. */
sbx_status hub_init(struct hub *hub, struct sbx_client *client, const char *endpoint, const char *token,
                    sbx_error *err);
void hub_free(struct hub *hub); /* no call may be left */

/* Never calls done before it returns. NULL: err says why. */
struct hub_call *hub_call(struct hub *hub, const struct hub_call_spec *spec, sbx_error *err);
void hub_call_cancel(struct hub_call *call); /* no callback afterwards; NULL does nothing */
/* Another one gets its end, and it is not repeated any more. */
void hub_call_take(struct hub_call *call, void (*done)(void *ctx, const struct hub_reply *reply), void *ctx);
bool hub_call_sent(const struct hub_call *call); /* the Hub may have seen it */

/* A pause of about ms, so that many clients do not come at once. */
int64_t hub_jitter(struct hub *hub, int64_t ms);

#endif
