/* What a stream of a command's output says, whatever its form. */
#ifndef CLIENT_STREAM_EVENT_H
#define CLIENT_STREAM_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"

enum stream_kind {
    STREAM_START,
    STREAM_OUTPUT,
    STREAM_GAP,
    STREAM_PING,
    STREAM_EXIT,
    STREAM_HELD, /* the end of output asked for without following, while the command runs */
};

struct stream_exit {
    int exit_code; /* -1 = a signal */
    int signal;
    bool timed_out;
    int64_t duration_ms;
    size_t survivors;
    char limit[32]; /* "" = none */
};

struct stream_event {
    enum stream_kind kind;
    int stream; /* OUTPUT, GAP: 0 = stdout, 1 = stderr */
    uint64_t offset;
    const char *data; /* OUTPUT: until the next call of the reader */
    size_t len;
    uint64_t dropped; /* GAP */
    char id[32];      /* START: "" = not said */
    int64_t pid;
    struct stream_exit exit;
    const char *bad; /* STREAM_BAD: what it is that makes no sense; NULL = the form */
};

enum stream_read {
    STREAM_EVENT, /* *out is filled */
    STREAM_MORE,  /* all input is used up */
    STREAM_BAD,   /* it makes no sense; nothing after it can be read */
};

struct json;
void stream_event_start(struct stream_event *out, const struct json *value);
/* False: the exit code or the signal can be none. Fills *out all the same. */
bool stream_event_exit(struct stream_exit *out, const struct json *value);
#define STREAM_EVENT_NO_EXIT "the peer tells an exit code or a signal that can be none"

#endif
