/* One output pipe of a process: its descriptor, and the bytes read from it. A channel is read as fast as its
   readers allow: full of bytes that one of them still needs, it is not read, and the command waits in its
   write. */
#ifndef AGENT_CHANNEL_H
#define AGENT_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/loop.h"
#include "agent/output.h"

struct channel {
    struct watch watch;
    int fd;          /* -1 when nobody holds the other end any more */
    bool leaderless; /* the leader has ended */
    bool settled;    /* all that the leader wrote before its end is in `out`, or the pipe is closed */
    bool has_target;
    uint64_t target; /* settled when `out` has come that far */
    bool large;      /* the pipe has been enlarged */
    struct output out;
    void (*news)(struct channel *c); /* there are more bytes, or the pipe is closed */
    void *owner;
};

void channel_init(struct channel *c, struct output_pool *pool, size_t max, void (*news)(struct channel *),
                  void *owner);
bool channel_open(struct channel *c, int *child); /* *child is the command's end; false: errno */
void channel_close(struct channel *c);

/* Reads when there is something, from now on; also after a reader has made room. */
void channel_watch(struct channel *c);

/* The leader has been reaped: reads what its pipe holds. What it wrote is there by now, so the bytes in the
   pipe at this moment are the last that its end has to wait for, even if a descendant goes on writing. */
void channel_leader_ended(struct channel *c);

#endif
