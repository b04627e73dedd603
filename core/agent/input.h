/* The standard input of one command: bytes taken from requests, on their way into its pipe. */
#ifndef AGENT_INPUT_H
#define AGENT_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/loop.h"
#include "util/buf.h"

struct input {
    struct watch watch;
    int fd;          /* our end of the pipe; -1: none, or closed */
    bool fed;        /* the command has a pipe at all */
    bool ended;      /* no more will be taken: eof was asked for */
    bool last;       /* the command has ended: what is pending is for those that it started, what comes is for
                        nobody */
    uint64_t taken;  /* bytes taken so far, also those that a command which closed its end never got */
    struct buf data; /* not yet in the pipe, from `at` on */
    size_t at;
    void (*progress)(struct input *in); /* there is less pending, or the pipe is closed */
};

void input_init(struct input *in, void (*progress)(struct input *));

/* Makes the pipe; *child is the command's end. False: errno. */
bool input_open(struct input *in, int *child);

/* Takes over bytes from malloc as the first ones. */
void input_give(struct input *in, char *data, size_t len);

/* Takes all bytes. False: no memory, nothing taken. */
bool input_feed(struct input *in, const char *data, size_t len);
void input_end(struct input *in);   /* closes the pipe when what is pending is in it */
void input_last(struct input *in);  /* the command has ended */
void input_close(struct input *in); /* now; what is pending is dropped */
size_t input_pending(const struct input *in);
bool input_is_open(const struct input *in); /* takes more, and the command may still get it */

#endif
