/* The event driver of one client: its lock, timers, descriptors, waiting threads, and its own thread. All
   functions except io_lock need the lock; all callbacks run with it. */
#ifndef CLIENT_IO_H
#define CLIENT_IO_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hfsandbox/hfsandbox.h"

#define IO_READ  1u
#define IO_WRITE 2u
#define IO_ERROR 4u /* delivered only: error or hang-up */

/* Embedded in their owners; zero-initialise, then set fire/ready and ctx. */
struct io_timer {
    void (*fire)(void *ctx); /* once; the timer is unset before */
    void *ctx;
    int64_t when;
    size_t slot; /* 0 = not set */
};

struct io_watch {
    void (*ready)(void *ctx, unsigned events);
    void *ctx;
    int fd;
    size_t slot; /* 0 = not watched */
};

struct io_waiter {
    pthread_cond_t cond;
    bool done;
    struct io_waiter *next;
};

struct io {
    pthread_mutex_t lock;
    int poll_fd, wake_fd;
    struct io_timer **timers; /* a heap by `when`; [0] is not used */
    size_t timer_count, timer_cap;
    struct io_slot *slots; /* of watches; [0] is not used */
    size_t slot_count, slot_free;
    const void *driver; /* who has the role; NULL = nobody */
    bool sleeping;      /* the driver is in epoll_wait without the lock, until: */
    int64_t sleep_until;
    bool stale, wake; /* since it fell asleep: a timer was set for earlier; it must wake in any case */
    struct io_waiter *waiters; /* asleep on their conditions */
    size_t background;
    bool thread_running, stop;
    bool holds; /* the thread, its owner */
    pthread_t thread;
    pthread_cond_t thread_cond, let_go_cond;
    void (*hold)(void *owner); /* the thread keeps the owner alive while it drives */
    bool (*let_go)(
        void *owner); /* with the lock; false: that would be the last reference, and nothing was done */
    bool (*release)(void *owner); /* without the lock; true: it was the last, and the io is destroyed */
    void *owner;
};

bool io_init(struct io *io, sbx_error *err);
/* The program ends. hurry: other threads make way for this one. park: the clients' own threads do nothing
   more, because what they use may be gone soon. */
void io_hurry(void);
void io_park(void);
void io_stop(struct io *io);    /* without the lock: ends the thread (which may be the caller) */
void io_destroy(struct io *io); /* without the lock, after io_stop */

void io_lock(struct io *io);
void io_unlock(struct io *io); /* runs first what is due, instead of waking the driver for it */

/* when: as clock_ms() counts; CLOCK_NEVER unsets. Setting a set timer moves it. */
bool io_timer_set(struct io *io, struct io_timer *timer, int64_t when); /* false: no memory */
void io_timer_clear(struct io *io, struct io_timer *timer);

/* Level-triggered; events 0 only reports errors. Setting a set watch changes its events. Clear it before the
 * fd is closed. */
bool io_watch_set(struct io *io, struct io_watch *watch, unsigned events); /* false: errno says why */
void io_watch_clear(struct io *io, struct io_watch *watch);

/* Sleeps or drives until waiter->done. The lock is dropped meanwhile. */
void io_waiter_init(struct io_waiter *waiter);
void io_wait(struct io *io, struct io_waiter *waiter);
void io_notify(struct io *io, struct io_waiter *waiter); /* sets done and wakes it */
void io_waiter_destroy(struct io_waiter *waiter);

/* Work begins (+1) or ends (-1) that nobody waits for: somebody must drive until it has ended. Returns false
   when it needs the thread and that cannot be started; then nothing was counted. Ending never fails. */
bool io_background(struct io *io, int change);

/* When nothing is left to do in the background: waits until the thread holds the owner no more, so that it is
   not the thread that destroys it, perhaps while the program ends. */
void io_settle(struct io *io);

#endif
