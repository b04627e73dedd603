#include "agent/input.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "agent/syscalls.h"
#include "util/testing.h"
#include "wire/limits.h"

static void push(struct input *in);

void input_init(struct input *in, void (*progress)(struct input *)) {
    memset(in, 0, sizeof *in);
    in->fd = -1;
    in->progress = progress;
    buf_init(&in->data, LIMIT_JSON_BODY + LIMIT_STDIN_PENDING + MIB(1));
}

bool input_open(struct input *in, int *child) {
    int fds[2];
    if (sys_pipe(fds, O_CLOEXEC | O_NONBLOCK) != 0) return false;
    *child = fds[0];
    in->fd = fds[1];
    in->fed = true;
    return true;
}

size_t input_pending(const struct input *in) {
    return in->data.len - in->at;
}

bool input_is_open(const struct input *in) {
    return in->fd >= 0 && !in->ended && !in->last;
}

void input_close(struct input *in) {
    buf_free(&in->data);
    in->at = 0;
    if (in->fd < 0) return;
    loop_unwatch(&in->watch);
    close(in->fd);
    in->fd = -1;
    in->progress(in);
}

static void writable(struct watch *w, uint32_t events) {
    (void)events;
    push((struct input *)((char *)w - offsetof(struct input, watch)));
}

/* As much as the pipe takes; the rest when it takes more. */
static void push(struct input *in) {
    while (in->fd >= 0 && input_pending(in) > 0) {
        ssize_t n = write(in->fd, in->data.data + in->at, input_pending(in));
        if (n > 0) {
            in->at += (size_t)n;
            continue;
        }
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN &&
            (in->watch.events != 0 || loop_watch(&in->watch, in->fd, EPOLLOUT, writable))) {
            in->progress(in);
            return;
        }
        input_close(in); /* the command has closed its end */
        return;
    }
    if (in->fd < 0) return;
    loop_unwatch(&in->watch);
    buf_free(&in->data);
    in->at = 0;
    if (in->ended || in->last)
        input_close(in);
    else
        in->progress(in);
}

void input_give(struct input *in, char *data, size_t len) {
    in->taken = len;
    in->data.data = data;
    in->data.len = len;
    in->data.cap = len;
    push(in);
}

bool input_feed(struct input *in, const char *data, size_t len) {
    if (in->fd >= 0 && !in->last) {
        if (in->at > in->data.len / 2) {
            buf_consume(&in->data, in->at);
            in->at = 0;
        }
        if (!buf_append(&in->data, data, len)) {
            in->data.failed = false;
            return false;
        }
    }
    in->taken += len;
    if (in->watch.events == 0) push(in);
    return true;
}

void input_end(struct input *in) {
    in->ended = true;
    if (in->watch.events == 0) push(in);
}

void input_last(struct input *in) {
    in->last = true;
    if (testing_off("input-at-exit")) input_close(in);
    if (in->watch.events == 0) push(in);
}
