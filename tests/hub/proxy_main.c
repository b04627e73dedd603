#include "proxy.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/rmtree.h"
#include "util/scope.h"

#define EVENTS 256

int64_t loop_now;
bool loop_end;
static int epoll_fd = -1, alarm_fd = -1;

bool loop_watch(int fd, struct watch *w) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = w};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* -- timers: a heap by time; place is one more than the position, 0 for those that are not in it */

static struct timer **heap;
static size_t heap_len, heap_room;
static int64_t alarm_at = CLOCK_NEVER;

static void put_at(size_t i, struct timer *t) {
    heap[i] = t;
    t->place = i + 1;
}

static void move_up(size_t i, struct timer *t) {
    for (; i > 0 && heap[(i - 1) / 2]->at > t->at; i = (i - 1) / 2)
        put_at(i, heap[(i - 1) / 2]);
    put_at(i, t);
}

static void move_down(size_t i, struct timer *t) {
    for (;;) {
        size_t child = 2 * i + 1;
        if (child + 1 < heap_len && heap[child + 1]->at < heap[child]->at) child++;
        if (child >= heap_len || heap[child]->at >= t->at) break;
        put_at(i, heap[child]);
        i = child;
    }
    put_at(i, t);
}

static void take_out(struct timer *t) {
    size_t i = t->place - 1;
    struct timer *last = heap[--heap_len];
    t->place = 0;
    if (last == t) return;
    if (i > 0 && heap[(i - 1) / 2]->at > last->at)
        move_up(i, last);
    else
        move_down(i, last);
}

void loop_set_timer(struct timer *t, int64_t at) {
    if (t->place != 0 && t->at == at) return;
    if (t->place != 0) take_out(t);
    t->at = at;
    if (at == CLOCK_NEVER) return;
    if (heap_len == heap_room) {
        size_t room = heap_room == 0 ? 256 : heap_room * 2;
        struct timer **more = realloc(heap, room * sizeof *heap);
        if (more == NULL) abort(); /* a connection that is never woken again would be worse */
        heap = more;
        heap_room = room;
    }
    move_up(heap_len++, t);
}

static void fire_timers(void) {
    while (heap_len > 0 && heap[0]->at <= loop_now) {
        struct timer *t = heap[0];
        take_out(t);
        t->at = CLOCK_NEVER;
        t->fire(t);
    }
}

static void set_alarm(void) {
    int64_t at = heap_len > 0 ? heap[0]->at : CLOCK_NEVER;
    if (at == alarm_at) return;
    alarm_at = at;
    struct itimerspec spec = {0};
    if (at != CLOCK_NEVER)
        spec.it_value = (struct timespec){.tv_sec = at / 1000000, .tv_nsec = at % 1000000 * 1000 + 1};
    timerfd_settime(alarm_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void alarm_rings(struct watch *w, uint32_t events) {
    uint64_t times;
    (void)w, (void)events;
    (void)!read(alarm_fd, &times, sizeof times);
    alarm_at = CLOCK_NEVER;
}

/* -- the loop */

static void run(void) {
    struct epoll_event events[EVENTS];
    bool more = false;
    while (!loop_end) {
        if (!more) set_alarm();
        int n = epoll_wait(epoll_fd, events, EVENTS, more ? 0 : -1);
        if (n < 0 && errno != EINTR) return;
        loop_now = clock_us();
        for (int i = 0; i < n; i++) {
            struct watch *w = events[i].data.ptr;
            w->ready(w, events[i].events);
        }
        fire_timers();
        more = pair_run_ready();
        pair_free_dead();
        upstream_free_dead();
    }
}

static void remove_directory(const char *path) {
    cleanup_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && rmtree_contents(fd)) (void)!rmdir(path);
}

static bool start(const char *directory) {
    static struct watch alarm_watch = {.ready = alarm_rings};
    struct rlimit files;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* the Hub says when it is over */
    signal(SIGTERM, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    loop_now = clock_us();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    alarm_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    return epoll_fd >= 0 && alarm_fd >= 0 && loop_watch(alarm_fd, &alarm_watch) && log_open(directory) &&
           control_start(STDIN_FILENO);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: hub-proxy DIRECTORY   (started by the local Hub)\n");
        return 2;
    }
    if (!start(argv[1])) {
        perror("hub-proxy");
        return 1;
    }
    run();
    pair_free_all();
    upstream_free_dead();
    table_free();
    upstream_free_dead();
    control_free();
    queue_free_spares();
    stream_tls_free();
    log_close();
    free(heap);
    close(alarm_fd);
    close(epoll_fd);
    remove_directory(argv[1]);
    return 0;
}
