/* The output of one command, from its start or from any offset, over as many connections as it takes: no byte
 * twice, none lost. */
#ifndef CLIENT_OUTPUT_STREAM_H
#define CLIENT_OUTPUT_STREAM_H

#include "client/error.h"
#include "client/stream_event.h"
#include "client/transfer.h"

struct stream;
struct sbx_sandbox;

/* Called with the lock held. Any of them may close the stream. */
struct stream_sink {
    void (*on_start)(void *ctx, const char *id, int64_t pid); /* once, of a stream that starts its command */
    void (*on_output)(void *ctx, const struct stream_event *event); /* OUTPUT or GAP */
    bool (*is_full)(void *ctx); /* NULL = never; true pauses the stream until stream_resume */
    void (*on_exit)(void *ctx, const struct stream_exit *exit); /* last */
    void (*on_fail)(void *ctx, const sbx_error *error);         /* last */
};

/* Starts the command that `body` (taken over: malloc'ed) describes. what: the public function, for messages.
   NULL: err says why, and nothing was started. */
struct stream *stream_exec(struct sbx_sandbox *sandbox, char *body, size_t body_len, bool wait_closed,
                           const char *what, const struct stream_sink *sink, void *ctx, sbx_error *err);

/* Follows a command that runs or ran. from: offsets to begin at; NULL = the oldest held. */
struct stream *stream_follow(struct sbx_sandbox *sandbox, const char *id, const uint64_t from[2],
                             bool wait_closed, const char *what, const struct stream_sink *sink, void *ctx,
                             sbx_error *err);

void stream_resume(struct stream *stream); /* the sink has room again */
void stream_redirect(struct stream *stream, const struct stream_sink *sink, void *ctx);
void stream_close(struct stream *stream); /* no callback afterwards; the command is not touched */

const char *stream_id(const struct stream *stream); /* "" = not known yet */
int64_t stream_pid(const struct stream *stream);    /* 0 = not known */

#endif
