/* One exchange with a sandbox's agent on behalf of an op. Stopped with its op. */
#ifndef CLIENT_REQUEST_H
#define CLIENT_REQUEST_H

#include "client/op.h"
#include "client/transfer.h"
#include "util/buf.h"

struct request_reply {
    const struct transfer_head *head; /* 2xx, or a status that `accepts` names */
    struct buf *body;                 /* NUL-terminated; may be taken with buf_take */
};

struct request_spec {
    const char *method;    /* literals */
    const char *log_route; /* "files/stat"; with ids replaced by ":id" */
    const char *what;      /* "reading the file's state": begins error messages */
    const char *target;    /* as in transfer.h: "files/stat?path=…"; copied */
    const char *accept;
    const char *content_type;
    const char *headers[4]; /* copied */
    const void *body;       /* borrowed until the op ends */
    uint64_t body_len;
    /* As in transfer.h; a request with it is not repeated. */
    size_t (*read)(void *ctx, char *into, size_t len);
    bool fresh;      /* over a connection of its own, because a used one has just turned out dead */
    unsigned needs;  /* endpoint features; missing ones fail the op with SBX_ERROR_UNSUPPORTED */
    bool repeatable; /* sending it twice is the same as once: a lost reply repeats it. Else the op fails with
                        SBX_ERROR_UNKNOWN_OUTCOME. */
    /* Not NULL: the request starts a command. It carries a client key where the peer honours keys (written
       here, "" elsewhere), and is repeatable there. Has room for 64 bytes; lives as long as ctx. */
    char *key;
    int64_t silence_ms; /* the longest wait for any byte of the answer; 0 = 45 s; -1 = as long as the peer
                           answers others meanwhile */
    size_t max_reply;   /* bytes kept of the body; 0 = 1 MiB; more fails the op with SBX_ERROR_TOO_LARGE */
    int accepts;        /* an error status that is an answer here (404, say) and not a failure; 0 = none */
    /* Streams the body of a 2xx answer instead of keeping it; not repeated once bytes were given. */
    enum transfer_flow (*on_data)(void *ctx, const char *data, size_t len);
    bool (*on_head)(void *ctx, const struct transfer_head *head);
    void *ctx; /* of read, on_head and on_data */
    /* The answer is there. Ends the op or goes on with another request. Failures never come here: they fail
       the op, unless on_error takes them. */
    void (*done)(struct op *op, struct request_reply *reply, void *ctx);
    void (*on_error)(struct op *op, const sbx_error *error, void *ctx); /* NULL = op_fail */
};

/* Starts it; a failure to start fails the op (so: nothing may touch the op after this, unless it ended). */
struct request *request_start(struct op *op, const struct request_spec *spec);
void request_cancel(struct request *request); /* no callback afterwards */
void request_stop_all(struct op *op);         /* for op.c */
void request_resume(struct request *request); /* after on_data paused */

/* The longest silence of a living peer. */
int64_t request_silence_ms(void);
/* How long a call that has failed waits for the news that the machine has ended, which says more. */
int64_t request_verdict_ms(const struct sbx_sandbox *sandbox);
/* Milliseconds to wait before the attempt-th repetition (from 1). */
int64_t request_backoff_ms(unsigned attempt);

/* Builds "route?name=value&…" with percent-encoding: the first pair gets '?', the others '&'. */
bool request_query(struct buf *target, const char *name, const char *value);
bool request_query_u64(struct buf *target, const char *name, uint64_t value);
bool request_path_part(struct buf *target, const char *text); /* percent-encodes, '/' included */

#endif
