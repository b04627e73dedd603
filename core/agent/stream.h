/* One reader of a process's output: an exchange whose response is the stream of its events, as frames or as
   lines of JSON. Any number may read one process, each at its own place. */
#ifndef AGENT_STREAM_H
#define AGENT_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/conn.h"
#include "agent/process.h"

#define STREAM_OLDEST UINT64_MAX

struct stream_options {
    uint64_t from[2]; /* offsets of stdout and stderr, or STREAM_OLDEST */
    bool follow;      /* on to the exit event; false: what is held now */
    bool until_closed;
};

/* Takes the exchange over: also the error of a start that fails. */
void stream_attach(struct process *p, struct exchange *x, const struct stream_options *options);

/* Sends what there is. Called by process.c whenever something has changed; may end the stream. */
void stream_flush(struct stream *s);
struct stream *stream_next(const struct stream *s);

/* The answer to a request whose process could not be started. */
void stream_answer_failed(struct exchange *x, const char *argv0, const char *cwd, const char *step,
                          int error);

#endif
