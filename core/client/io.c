#include "client/io.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/error.h"
#include "client/poller.h"
#include "util/clock.h"

/* An event that epoll_wait has reported may be handled after its watch was cleared and the slot given to
   another one: the generation in the key tells. */
struct io_slot {
    struct io_watch *watch; /* NULL: free, and next_free counts */
    uint32_t generation;
    size_t next_free;
};

bool io_init(struct io *io, sbx_error *err) {
    memset(io, 0, sizeof *io);
    io->poll_fd = poller_open();
    io->wake_fd = poller_wake_open();
    if (io->poll_fd < 0 || io->wake_fd < 0 || !poller_set(io->poll_fd, io->wake_fd, false, IO_READ, 0)) {
        error_system(err, errno, "no descriptor for waiting on events");
        if (io->poll_fd >= 0) close(io->poll_fd);
        if (io->wake_fd >= 0) close(io->wake_fd);
        return false;
    }
    pthread_mutex_init(&io->lock, NULL);
    pthread_cond_init(&io->thread_cond, NULL);
    pthread_cond_init(&io->let_go_cond, NULL);
    return true;
}

static atomic_bool hurried;
static pthread_t ender;

void io_hurry(void) {
    ender = pthread_self();
    atomic_store(&hurried, true);
}

/* A lock that many want is not given to the one who ends the program before them. */
static void make_way(void) {
    if (atomic_load_explicit(&hurried, memory_order_acquire) && !pthread_equal(pthread_self(), ender))
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
}

void io_lock(struct io *io) {
    make_way();
    pthread_mutex_lock(&io->lock);
}

/* ---- Timers: a binary heap, children of n at 2n and 2n+1 */

static void place(struct io *io, size_t slot, struct io_timer *timer) {
    io->timers[slot] = timer;
    timer->slot = slot;
}

static void sift_up(struct io *io, size_t slot, struct io_timer *timer) {
    for (; slot > 1 && io->timers[slot / 2]->when > timer->when; slot /= 2)
        place(io, slot, io->timers[slot / 2]);
    place(io, slot, timer);
}

static void sift_down(struct io *io, size_t slot, struct io_timer *timer) {
    for (;;) {
        size_t child = slot * 2;
        if (child > io->timer_count) break;
        if (child < io->timer_count && io->timers[child + 1]->when < io->timers[child]->when) child++;
        if (io->timers[child]->when >= timer->when) break;
        place(io, slot, io->timers[child]);
        slot = child;
    }
    place(io, slot, timer);
}

/* Whoever holds the lock and lets go of it sees to it (settle). */
static void wake_before(struct io *io, int64_t when) {
    if (io->sleeping && when < io->sleep_until) io->stale = true;
}

static void wake_driver(struct io *io) {
    if (io->sleeping) io->stale = io->wake = true;
}

bool io_timer_set(struct io *io, struct io_timer *timer, int64_t when) {
    if (when == CLOCK_NEVER) {
        io_timer_clear(io, timer);
        return true;
    }
    if (timer->slot == 0) {
        if (io->timer_count + 2 > io->timer_cap) {
            size_t cap = io->timer_cap == 0 ? 16 : io->timer_cap * 2;
            struct io_timer **grown = realloc(io->timers, cap * sizeof(struct io_timer *));
            if (grown == NULL) return false;
            io->timers = grown;
            io->timer_cap = cap;
        }
        timer->when = when;
        sift_up(io, ++io->timer_count, timer);
    } else {
        bool earlier = when < timer->when;
        timer->when = when;
        if (earlier) {
            sift_up(io, timer->slot, timer);
        } else {
            sift_down(io, timer->slot, timer);
        }
    }
    wake_before(io, when);
    return true;
}

void io_timer_clear(struct io *io, struct io_timer *timer) {
    if (timer->slot == 0) return;
    size_t slot = timer->slot;
    struct io_timer *last = io->timers[io->timer_count--];
    timer->slot = 0;
    if (last == timer) return;
    if (slot > 1 && io->timers[slot / 2]->when > last->when) {
        sift_up(io, slot, last);
    } else {
        sift_down(io, slot, last);
    }
}

static void run_timers(struct io *io) {
    int64_t now = clock_ms();
    while (io->timer_count > 0 && io->timers[1]->when <= now) {
        struct io_timer *timer = io->timers[1];
        io_timer_clear(io, timer);
        timer->fire(timer->ctx);
    }
}

/* Before the lock is dropped while the driver sleeps: what is due is done by this thread, which has it all in
   its cache; the driver is woken only if it would sleep too long. */
static void settle(struct io *io) {
    if (!io->stale) return;
    run_timers(io);
    io->stale = false;
    bool early = io->timer_count > 0 && io->timers[1]->when < io->sleep_until;
    if (io->sleeping && (early || io->wake)) poller_wake(io->wake_fd);
    if (early) io->sleep_until = io->timers[1]->when;
    io->wake = false;
}

void io_unlock(struct io *io) {
    settle(io);
    pthread_mutex_unlock(&io->lock);
}

/* ---- Descriptors */

static size_t take_slot(struct io *io) {
    if (io->slot_free == 0) {
        size_t count = io->slot_count == 0 ? 16 : io->slot_count * 2;
        struct io_slot *grown = realloc(io->slots, count * sizeof *grown);
        if (grown == NULL) return 0;
        for (size_t i = count; i-- > (io->slot_count == 0 ? 1 : io->slot_count);) {
            grown[i] = (struct io_slot){.next_free = io->slot_free};
            io->slot_free = i;
        }
        io->slots = grown;
        io->slot_count = count;
    }
    size_t slot = io->slot_free;
    io->slot_free = io->slots[slot].next_free;
    return slot;
}

static void give_slot(struct io *io, size_t slot) {
    io->slots[slot].watch = NULL;
    io->slots[slot].generation++;
    io->slots[slot].next_free = io->slot_free;
    io->slot_free = slot;
}

bool io_watch_set(struct io *io, struct io_watch *watch, unsigned events) {
    bool known = watch->slot != 0;
    size_t slot = known ? watch->slot : take_slot(io);
    if (slot == 0) {
        errno = ENOMEM;
        return false;
    }
    uint64_t key = (uint64_t)io->slots[slot].generation << 32 | slot;
    if (!poller_set(io->poll_fd, watch->fd, known, events, key)) {
        if (!known) give_slot(io, slot);
        return false;
    }
    io->slots[slot].watch = watch;
    watch->slot = slot;
    return true;
}

void io_watch_clear(struct io *io, struct io_watch *watch) {
    if (watch->slot == 0) return;
    poller_remove(io->poll_fd, watch->fd);
    give_slot(io, watch->slot);
    watch->slot = 0;
}

static void deliver(struct io *io, const struct poller_event *event) {
    size_t slot = (size_t)(event->key & UINT32_MAX);
    if (slot == 0) {
        poller_calm(io->wake_fd);
        return;
    }
    struct io_watch *watch = io->slots[slot].watch;
    if (watch != NULL && io->slots[slot].generation == event->key >> 32)
        watch->ready(watch->ctx, event->events);
}

/* ---- The driver */

static atomic_bool parked;

void io_park(void) {
    atomic_store(&parked, true);
}

static void drive_once(struct io *io) {
    struct poller_event events[POLLER_BATCH];
    io->sleep_until = io->timer_count > 0 ? io->timers[1]->when : CLOCK_NEVER;
    io->sleeping = true;
    int timeout = clock_poll_ms(io->sleep_until);
    pthread_mutex_unlock(&io->lock);
    int count = poller_wait(io->poll_fd, events, timeout);
    make_way();
    pthread_mutex_lock(&io->lock);
    io->sleeping = false;
    if (io->driver == io && atomic_load(&parked)) return;
    for (int i = 0; i < count; i++)
        deliver(io, &events[i]);
    run_timers(io);
}

/* The role is free: somebody who waits takes it, else the thread, if there is work that nobody waits for. */
static void offer_role(struct io *io) {
    if (io->driver != NULL) return;
    if (io->waiters != NULL) {
        pthread_cond_signal(&io->waiters->cond);
    } else if (io->background > 0 && io->thread_running) {
        pthread_cond_signal(&io->thread_cond);
    }
}

void io_waiter_init(struct io_waiter *waiter) {
    memset(waiter, 0, sizeof *waiter);
    pthread_cond_init(&waiter->cond, NULL);
}

void io_waiter_destroy(struct io_waiter *waiter) {
    pthread_cond_destroy(&waiter->cond);
}

static void sleep_on(struct io *io, struct io_waiter *waiter) {
    settle(io);
    if (waiter->done || io->driver == NULL) return;
    waiter->next = io->waiters;
    io->waiters = waiter;
    pthread_cond_wait(&waiter->cond, &io->lock);
    struct io_waiter **link = &io->waiters;
    while (*link != waiter)
        link = &(*link)->next;
    *link = waiter->next;
}

void io_wait(struct io *io, struct io_waiter *waiter) {
    while (!waiter->done) {
        if (io->driver == NULL) {
            io->driver = waiter;
            run_timers(io);
            while (!waiter->done)
                drive_once(io);
            io->driver = NULL;
        } else {
            sleep_on(io, waiter);
        }
    }
    /* Also when this one was offered the role and has just been completed by somebody else. */
    offer_role(io);
}

void io_notify(struct io *io, struct io_waiter *waiter) {
    waiter->done = true;
    if (io->driver == waiter) {
        wake_driver(io);
    } else {
        pthread_cond_signal(&waiter->cond);
    }
}

/* ---- The thread */

static void *thread_main(void *argument) {
    struct io *io = argument;
    pthread_mutex_lock(&io->lock);
    while (!io->stop && !atomic_load(&parked)) {
        if (io->background == 0 || io->driver != NULL) {
            pthread_cond_wait(&io->thread_cond, &io->lock);
            continue;
        }
        io->hold(io->owner);
        io->holds = true;
        io->driver = io;
        while (io->background > 0 && !atomic_load(&parked))
            drive_once(io);
        io->driver = NULL;
        offer_role(io);
        if (atomic_load(&parked)) break; /* with its hold: nothing is freed by it any more */
        if (!io->let_go(io->owner)) {
            pthread_mutex_unlock(&io->lock);
            bool destroyed = io->release(io->owner);
            if (destroyed) return NULL;
            pthread_mutex_lock(&io->lock);
        }
        io->holds = false;
        pthread_cond_broadcast(&io->let_go_cond);
    }
    bool stays = !io->stop;
    pthread_mutex_unlock(&io->lock);
    while (stays)
        pause();
    return NULL;
}

static bool start_thread(struct io *io) {
    /* No signal handler of the program may run on this thread. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&io->thread, NULL, thread_main, io);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = failed;
    return failed == 0;
}

bool io_background(struct io *io, int change) {
    if (change < 0) {
        io->background--;
        /* The thread may be the driver, asleep, with nothing left to do. */
        if (io->background == 0 && io->driver == io) wake_driver(io);
        return true;
    }
    if (!io->thread_running) {
        if (!start_thread(io)) return false;
        io->thread_running = true;
    }
    io->background++;
    pthread_cond_broadcast(&io->let_go_cond);
    if (io->driver == NULL) pthread_cond_signal(&io->thread_cond);
    return true;
}

void io_settle(struct io *io) {
    if (!io->thread_running || pthread_equal(pthread_self(), io->thread)) return;
    while (io->holds && io->background == 0 && !atomic_load(&parked)) {
        settle(io); /* the thread may be asleep until its next timer */
        pthread_cond_wait(&io->let_go_cond, &io->lock);
    }
}

void io_stop(struct io *io) {
    if (!io->thread_running) return;
    io->thread_running = false;
    if (pthread_equal(pthread_self(), io->thread) || atomic_load(&parked)) {
        pthread_detach(io->thread);
        return;
    }
    pthread_mutex_lock(&io->lock);
    io->stop = true;
    pthread_cond_signal(&io->thread_cond);
    pthread_mutex_unlock(&io->lock);
    pthread_join(io->thread, NULL);
}

void io_destroy(struct io *io) {
    pthread_cond_destroy(&io->thread_cond);
    pthread_cond_destroy(&io->let_go_cond);
    pthread_mutex_destroy(&io->lock);
    close(io->poll_fd);
    close(io->wake_fd);
    free(io->timers);
    free(io->slots);
}
