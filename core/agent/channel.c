#include "agent/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "agent/syscalls.h"
#include "util/testing.h"
#include "wire/limits.h"

#define READ_MOST  KIB(256) /* in one turn */
#define PIPE_USUAL KIB(64)
#define PIPE_LARGE KIB(256)

void channel_init(struct channel *c, struct output_pool *pool, size_t max, void (*news)(struct channel *),
                  void *owner) {
    memset(c, 0, sizeof *c);
    c->fd = -1;
    c->news = news;
    c->owner = owner;
    output_init(&c->out, pool, max);
}

bool channel_open(struct channel *c, int *child) {
    int fds[2];
    /* Never blocking: a command may open /proc/self/fd/1 for reading and take the bytes that this end was
     * told of. */
    if (sys_pipe(fds, O_CLOEXEC | O_NONBLOCK) != 0) return false;
    c->fd = fds[0];
    *child = fds[1];
    return true;
}

void channel_close(struct channel *c) {
    if (c->fd < 0) return;
    loop_unwatch(&c->watch);
    close(c->fd);
    c->fd = -1;
    c->settled = true;
    c->news(c);
}

static void settle(struct channel *c, size_t read_len, bool emptied) {
    if (!c->leaderless || c->settled) return;
    int held = 0;
    if (emptied) {
        c->settled = true;
    } else if (!c->has_target && read_len > 0 && ioctl(c->fd, FIONREAD, &held) == 0) {
        c->has_target = true;
        c->target = c->out.end + (uint64_t)held;
    }
    if (c->has_target && c->out.end >= c->target) c->settled = true;
}

/* Reads into the ring, or aside while there is none yet. The read's result; *room is how much it could have
   been, 0: a reader must come first. */
static ssize_t read_once(struct channel *c, size_t *room) {
    static char aside[OUTPUT_MIN];
    struct iovec pieces[2];
    if (c->out.cap == 0) {
        *room = c->out.max < sizeof aside ? c->out.max : sizeof aside;
        ssize_t n = read(c->fd, aside, *room);
        if (n <= 0 || output_first(&c->out, aside, (size_t)n)) return n;
        c->out.start = c->out.end += (uint64_t)n; /* no memory even for that: it is lost, and said so */
        c->out.dropped += (uint64_t)n;
        return n;
    }
    int count = output_room(&c->out, READ_MOST, pieces);
    *room = count == 0 ? 0 : count == 1 ? pieces[0].iov_len : pieces[0].iov_len + pieces[1].iov_len;
    if (count == 0) return 0;
    ssize_t n = count > 1 ? readv(c->fd, pieces, count) : read(c->fd, pieces[0].iov_base, pieces[0].iov_len);
    if (n > 0) output_added(&c->out, (size_t)n);
    return n;
}

/* Reads until the pipe is empty, a turn's share is read, or a reader must come first. */
static void read_some(struct channel *c) {
    size_t total = 0, room;
    while (c->fd >= 0) {
        ssize_t n = read_once(c, &room);
        if (room == 0) {
            loop_unwatch(&c->watch); /* an end of the pipe would be reported again and again meanwhile */
            settle(c, 1, false);
            break;
        }
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) {
            settle(c, 0, true);
            break;
        }
        if (n <= 0) {
            channel_close(c);
            return;
        }
        total += (size_t)n;
        bool emptied = (size_t)n < room; /* a pipe gives what it has */
        if (!c->large && c->out.end >= 2 * PIPE_USUAL) {
            c->large = true;
            sys_fcntl(c->fd, F_SETPIPE_SZ,
                      (int)PIPE_LARGE); /* fewer turns for the same bytes; a refusal is no harm */
        }
        settle(c, total, emptied);
        if ((emptied && !c->leaderless) || total >= READ_MOST) break;
    }
    c->news(c);
}

static void readable(struct watch *w, uint32_t events) {
    (void)events;
    read_some((struct channel *)((char *)w - offsetof(struct channel, watch)));
}

void channel_watch(struct channel *c) {
    if (c->fd < 0 || c->watch.events != 0) return;
    struct iovec pieces[2];
    if (c->out.cap > 0 && output_room(&c->out, 1, pieces) == 0) return;
    if (!loop_watch(&c->watch, c->fd, EPOLLIN, readable)) channel_close(c);
}

void channel_leader_ended(struct channel *c) {
    c->leaderless = true;
    c->settled = c->fd < 0 || testing_off("drain-at-exit");
    if (c->fd >= 0 && !c->settled) read_some(c);
}
