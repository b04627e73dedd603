#include "agent/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "util/clock.h"

#define BATCH        64
#define LATER_ROUNDS 4 /* work that queues work still ends the turn */

static int epoll_fd = -1;
static bool stopped;
static int stop_status;
static int64_t now_ms;

/* The events of the turn under way, so that loop_unwatch can drop those of a watch that goes away. */
static struct epoll_event batch[BATCH];
static int batch_at, batch_len;

/* Timers: a binary heap, earliest first; heap[0] is unused so that slot 0 means "not set". */
static struct timer **heap;
static size_t heap_len, heap_cap;

static struct later *later_first, **later_last = &later_first;

bool loop_init(void) {
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    now_ms = clock_ms();
    stopped = false;
    return epoll_fd >= 0;
}

void loop_free(void) {
    if (epoll_fd >= 0) close(epoll_fd);
    epoll_fd = -1;
    free(heap);
    heap = NULL;
    heap_len = heap_cap = 0;
    later_first = NULL;
    later_last = &later_first;
}

bool loop_watch(struct watch *w, int fd, uint32_t events, void (*ready)(struct watch *, uint32_t)) {
    struct epoll_event e = {.events = events, .data.ptr = w};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0) return false;
    w->fd = fd;
    w->events = events;
    w->ready = ready;
    return true;
}

void loop_rewatch(struct watch *w, uint32_t events) {
    if (w->ready == NULL || w->events == events) return;
    struct epoll_event e = {.events = events, .data.ptr = w};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, w->fd, &e) == 0) w->events = events;
}

void loop_unwatch(struct watch *w) {
    if (w->ready == NULL) return;
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
    w->ready = NULL;
    w->events = 0;
    for (int i = batch_at; i < batch_len; i++)
        if (batch[i].data.ptr == w) batch[i].data.ptr = NULL;
}

static void heap_put(size_t slot, struct timer *t) {
    heap[slot] = t;
    t->slot = slot;
}

static void heap_up(size_t slot, struct timer *t) {
    while (slot > 1 && heap[slot / 2]->due_ms > t->due_ms) {
        heap_put(slot, heap[slot / 2]);
        slot /= 2;
    }
    heap_put(slot, t);
}

static void heap_down(size_t slot, struct timer *t) {
    for (;;) {
        size_t child = slot * 2;
        if (child > heap_len) break;
        if (child < heap_len && heap[child + 1]->due_ms < heap[child]->due_ms) child++;
        if (heap[child]->due_ms >= t->due_ms) break;
        heap_put(slot, heap[child]);
        slot = child;
    }
    heap_put(slot, t);
}

bool loop_timer(struct timer *t, int64_t due_ms, void (*fire)(struct timer *)) {
    t->fire = fire;
    if (t->slot != 0) {
        int64_t was = t->due_ms;
        t->due_ms = due_ms;
        if (due_ms < was)
            heap_up(t->slot, t);
        else
            heap_down(t->slot, t);
        return true;
    }
    if (heap_len + 1 >= heap_cap) {
        size_t cap = heap_cap == 0 ? 64 : heap_cap * 2;
        struct timer **grown = realloc(heap, cap * sizeof *heap);
        if (grown == NULL) return false;
        heap = grown;
        heap_cap = cap;
    }
    t->due_ms = due_ms;
    heap_up(++heap_len, t);
    return true;
}

void loop_untimer(struct timer *t) {
    if (t->slot == 0) return;
    size_t slot = t->slot;
    t->slot = 0;
    struct timer *moved = heap[heap_len--];
    if (moved == t) return;
    if (slot > 1 && heap[slot / 2]->due_ms > moved->due_ms)
        heap_up(slot, moved);
    else
        heap_down(slot, moved);
}

void loop_later(struct later *l, void (*fn)(struct later *)) {
    l->fn = fn;
    if (l->queued) return;
    l->queued = true;
    l->next = NULL;
    *later_last = l;
    later_last = &l->next;
}

void loop_unlater(struct later *l) {
    if (!l->queued) return;
    for (struct later **at = &later_first; *at != NULL; at = &(*at)->next) {
        if (*at != l) continue;
        *at = l->next;
        if (later_last == &l->next) later_last = at;
        break;
    }
    l->queued = false;
}

static void run_later(void) {
    for (int round = 0; round < LATER_ROUNDS && later_first != NULL; round++) {
        /* A marker ends the round: what is queued from now on belongs to the next one. */
        struct later marker = {.queued = false};
        loop_later(&marker, NULL);
        while (later_first != &marker) {
            struct later *l = later_first;
            loop_unlater(l);
            l->fn(l);
        }
        loop_unlater(&marker);
    }
}

static void run_timers(void) {
    /* As many as there are now: one that sets itself again for this very moment must not hold the turn. */
    for (size_t left = heap_len; left > 0 && heap_len > 0 && heap[1]->due_ms <= now_ms; left--) {
        struct timer *t = heap[1];
        loop_untimer(t);
        t->fire(t);
    }
}

int64_t loop_now(void) {
    return now_ms;
}

int loop_run(void) {
    while (!stopped) {
        int wait = later_first != NULL ? 0 : heap_len > 0 ? clock_poll_ms(heap[1]->due_ms) : -1;
        int n = epoll_wait(epoll_fd, batch, BATCH, wait);
        if (n < 0 && errno != EINTR) return 1;
        now_ms = clock_ms();
        batch_len = n < 0 ? 0 : n;
        for (batch_at = 0; batch_at < batch_len;) {
            struct epoll_event e = batch[batch_at++];
            struct watch *w = e.data.ptr;
            if (w != NULL) w->ready(w, e.events);
        }
        batch_at = batch_len = 0;
        run_timers();
        run_later();
    }
    return stop_status;
}

void loop_stop(int status) {
    stopped = true;
    stop_status = status;
}
