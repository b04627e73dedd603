/* One connection: a state machine over a socket that reads requests, hands them to their handlers and sends
 what the handlers answer. Deadlines, pipelining, 100-continue, draining and chunking are done here and
 nowhere else.
 *
 * A handler gets a `struct exchange`: one request and its response. It lives from the head of the request to
 the last byte of the
 * response, or to the loss of the connection. The calls a handler may rely on:
 *
 *   route's start(x)      the head is there (streamed body) or head and body are (buffered body, x->body)
 *   x->on_body            streamed body only: a piece; return false to refuse (after answering)
 *   x->on_body_end        streamed body only: it is complete
 *   x->on_drain           the unsent output has fallen below EXCHANGE_LOW: make more
 *   x->on_close           exactly once, last, whatever happens: release x->ctx. x->lost says whether the peer
 went away before
 *                         the response was complete.
 *
 * A handler answers with exactly one of exchange_json, exchange_error, exchange_file,
 exchange_begin..exchange_end, exchange_empty, now or
 * later (from a timer, a worker's completion, a process event).
 */
#ifndef AGENT_CONN_H
#define AGENT_CONN_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "agent/http.h"
#include "agent/loop.h"
#include "util/buf.h"
#include "wire/codes.h"

#define EXCHANGE_LOW  (64 * 1024)  /* below this much unsent output on_drain is called */
#define EXCHANGE_HIGH (256 * 1024) /* above it a producer should wait for on_drain */

struct conn;
struct route;
struct sandbox;

struct exchange {
    struct conn *conn;
    struct sandbox *sandbox;            /* what it is about; set with the route */
    const struct http_request *request; /* valid during the whole exchange */
    const char
        *param;      /* what stood for ":id" (or the rest, for "*") in the route's pattern; NUL-terminated */
    struct buf body; /* the whole body, of routes that buffer it */
    bool lost;
    bool half_closed; /* the peer has ended its writing; it may still be reading, or be gone */
    bool (*on_body)(struct exchange *x, const char *data, size_t len);
    void (*on_body_end)(struct exchange *x);
    void (*on_drain)(struct exchange *x);
    void (*on_close)(struct exchange *x);
    void *ctx; /* the handler's own */
};

/* Complete answers. The buffer's bytes are taken over. exchange_header may be called before any of them to
 * add a field. */
void exchange_header(struct exchange *x, const char *name, const char *value);
void exchange_json(struct exchange *x, int status, struct buf *json);
void exchange_empty(struct exchange *x, int status);
void exchange_error(struct exchange *x, enum wire_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void exchange_error_status(struct exchange *x, int status, enum wire_code code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* A streamed answer. length >= 0 sets Content-Length and the handler sends exactly that many bytes (fewer:
   end with exchange_abort, which closes the connection so that the peer notices); -1 means chunked. */
void exchange_begin(struct exchange *x, int status, const char *content_type, int64_t length);
void exchange_send(struct exchange *x, const struct iovec *parts,
                   int count); /* copied where the socket does not take it at once */
void exchange_end(struct exchange *x);
void exchange_abort(struct exchange *x);

size_t exchange_pending(const struct exchange *x); /* unsent bytes */
bool exchange_is_head(const struct exchange *x);   /* HEAD: the conn drops the body by itself */

/* Streamed request bodies: stops and restarts reading. */
void exchange_pause(struct exchange *x);
void exchange_resume(struct exchange *x);

/* For the proxy. exchange_raw begins an answer whose head is among the bytes that are sent: nothing is added,
   and the connection closes at its end. After exchange_tunnel the peer's bytes are no requests any more: they
   go to on_body as they are (pause and resume hold), and on_body_end tells of the end of its writing. */
void exchange_raw(struct exchange *x);
void exchange_tunnel(struct exchange *x);

/* Connections */
bool conn_open(int fd); /* serves a connected stream socket, which it takes over; false (fd closed): limit or
                           no memory */
size_t conn_count(void);
/* The exchanges that concern it are cut off: all with NULL, else those of some routes. */
void conn_abort_some(const struct sandbox *sandbox, bool (*which)(const struct route *r));
/* Where few more can be served, the oldest one but this that has no authenticated request under way goes. */
void conn_make_room(const struct conn *but);
void conn_close_idle(void); /* at shutdown: closes those between requests, the others after their answer */
int64_t conn_last_activity(void); /* loop_now() of the last authenticated request or byte of an open stream */
size_t conn_open_streams(void);   /* exchanges under way that are authenticated: they count as activity */

#endif
