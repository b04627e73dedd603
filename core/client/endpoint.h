/* Where an agent answers, and what it can do. */
#ifndef CLIENT_ENDPOINT_H
#define CLIENT_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/error.h"

enum endpoint_kind {
    ENDPOINT_URL,  /* url: "http://127.0.0.1:49983", with the path that stands before the prefix if there is
                      one */
    ENDPOINT_UNIX, /* path: of the socket */
    ENDPOINT_CONTROL, /* control_fd: one end of each new connection is passed over it (handover.h) */
};

enum endpoint_feature { /* of names.h */
                        ENDPOINT_KEYS = 1,
                        ENDPOINT_FRAMES = 2,
                        ENDPOINT_PROCESS = 4,
                        ENDPOINT_FILES = 8,
                        ENDPOINT_PARTS = 16,
                        ENDPOINT_ALL = 31,
};

struct endpoint {
    enum endpoint_kind kind;
    char *url;    /* without a slash at its end. UNIX and CONTROL: "http://<unique>.invalid", made by
                     endpoint_make */
    char *prefix; /* what its routes stand below, "/v1/sandboxes/ID/"; NULL = "/v1/" */
    char *path; /* UNIX: the socket. CONTROL: a unique name that keeps libcurl's pool of connections apart */
    int control_fd; /* CONTROL: owned by the provider, open as long as the endpoint is used; -1 = closed:
                       connecting fails */
    char *token;    /* NULL = none */
    char *token_header;
    char *bearer_header; /* for the Hub, and for its proxy before a job; NULL = none */
    unsigned features;
    /* Called when an exchange with it came to nothing; may not end anything at once. NULL = nobody cares. */
    void (*trouble)(void *ctx);
    /* Why it comes to nothing, if that was learnt about losses since then (clock_ms); NULL = nobody knows. */
    const sbx_error *(*why)(void *ctx, int64_t since);
    void *trouble_ctx;
    struct transport_pool *pool; /* transport.c's: connections to use again; NULL = none yet */
};

/* Copies the strings. path NULL for URL and CONTROL, url NULL for UNIX and CONTROL. On failure there is
 * nothing to free. */
sbx_status endpoint_make(struct endpoint *out, enum endpoint_kind kind, const char *url, const char *path,
                         int control_fd, const char *token, unsigned features, sbx_error *err);
/* Another prefix than "/v1/"; copied. */
sbx_status endpoint_set_prefix(struct endpoint *endpoint, const char *prefix, sbx_error *err);
const char *endpoint_prefix(const struct endpoint *endpoint);
/* Adds the Hub's token. */
sbx_status endpoint_set_bearer(struct endpoint *endpoint, const char *token, sbx_error *err);
const sbx_error *endpoint_why(const struct endpoint *endpoint, int64_t since); /* NULL: not known */
void endpoint_free(struct endpoint *endpoint); /* wipes the tokens; does not close control_fd */

/* Blots out its tokens in what the peer has said. */
void endpoint_redact(const struct endpoint *endpoint, char *text);
const char *endpoint_where(const struct endpoint *endpoint); /* for messages */
/* Whether the host of a URL, without brackets and port, is this machine by itself: no name leads anywhere
 * else. */
bool endpoint_loopback(const char *host, size_t len);
bool endpoint_is_local(const struct endpoint *endpoint); /* this machine: no proxy in between */

#endif
