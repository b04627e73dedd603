/* HTTP exchanges. All functions need the client's lock; callbacks run with it. A transfer follows no
   redirect, and nothing here sends one twice. */
#ifndef CLIENT_TRANSFER_H
#define CLIENT_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/endpoint.h"
#include "client/io.h"
#include "hfsandbox/hfsandbox.h"

struct transfer;
struct sbx_client;

struct transfer_head { /* what is kept of a response's head */
    int status;
    int64_t length; /* Content-Length; -1 = none */
    bool chunked;   /* with neither, the end of the body is the end of the connection, however that came */
    char content_type[64];
    char etag[112];
    bool coded;   /* our agent has written it: an error carries a code of its own */
    int retry_ms; /* Retry-After; -1 = none */
};

enum transfer_flow {
    TRANSFER_TAKEN,
    TRANSFER_PAUSE, /* nothing of it was taken; it comes again after transfer_resume */
    TRANSFER_STOP,  /* ends the transfer: on_end with TRANSFER_STOPPED */
};

enum transfer_outcome {
    TRANSFER_OK,       /* a complete response, whatever its status */
    TRANSFER_NOT_SENT, /* no connection: the peer has seen nothing of it */
    TRANSFER_LOST,     /* the connection broke: the peer may have acted on it */
    TRANSFER_SILENT,   /* nothing came for silence_ms; else as LOST */
    TRANSFER_STOPPED,
};

struct transfer_end {
    enum transfer_outcome outcome;
    const struct transfer_head *head; /* status 0: no head came */
    sbx_error error;                  /* of every outcome but OK */
    bool untrusted;                   /* NOT_SENT, and another attempt will be no better */
};

#define TRANSFER_READ_FAILED ((size_t)-1)

struct transfer_spec {
    struct endpoint *endpoint; /* outlives the transfer */
    const char *method;        /* these five are literals */
    const char *event;         /* in the log; NULL = "request" */
    const char *log_route;     /* "processes/:id": for the log, without ids and paths */
    const char *accept;        /* NULL = anything */
    const char *content_type;  /* of the body; NULL = none */
    const char *target;        /* "exec", below the endpoint's prefix, or "/health"; with the query; copied */
    const char *headers[4];    /* "Name: value", copied; NULL ends */
    const void *body;          /* borrowed until the transfer has ended */
    uint64_t body_len;
    /* Instead of body: gives body_len bytes piece by piece. Not called again after it gave 0 or
     * TRANSFER_READ_FAILED. */
    size_t (*read)(void *ctx, char *into, size_t len);
    bool fresh; /* over a connection of its own, so that a used one that turns out dead cannot lose it */
    bool once; /* libcurl must not re-send it, as it does when a used connection turns out dead; fresh implies
                  it */
    int64_t silence_ms; /* 0 = no limit */
    /* Any may be NULL but on_end. on_head: false stops. on_end: once, last; the transfer is gone when it
     * returns. */
    void (*on_header)(void *ctx, const char *name, size_t name_len, const char *value, size_t len);
    bool (*on_head)(void *ctx, const struct transfer_head *head);
    enum transfer_flow (*on_data)(void *ctx, const char *data, size_t len);
    void (*on_end)(void *ctx, const struct transfer_end *end);
    void *ctx;
};

/* No callback is called before this returns. NULL: err says why. */
struct transfer *transfer_start(struct sbx_client *client, const struct transfer_spec *spec, sbx_error *err);

/* From any callback but its own on_end. No callback is called afterwards. */
void transfer_cancel(struct transfer *transfer);
void transfer_resume(struct transfer *transfer);

/* What mattered of it has come: it may end by itself, so that its connection can be used again, but not for
   long. No callback is called afterwards; body (may be NULL) is freed with it. */
void transfer_abandon(struct transfer *transfer, void *body);
void transfer_cancel_abandoned(struct sbx_client *client, const struct endpoint *endpoint); /* it goes away */

#endif
