/* The one event loop of the agent: descriptors, timers, and work put off to the end of the turn. Everything
   in the agent but the workers' jobs runs on it, so nothing here needs a lock. */
#ifndef AGENT_LOOP_H
#define AGENT_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

/* Embedded in whatever owns the descriptor. Zero-initialise before the first loop_watch. */
struct watch {
    int fd;
    uint32_t events; /* what is asked for now; 0 while not watched */
    void (*ready)(struct watch *w, uint32_t events);
};

bool loop_init(void);
void loop_free(void);

/* Level-triggered. False only when the kernel refuses (ENOMEM, ENOSPC). */
bool loop_watch(struct watch *w, int fd, uint32_t events, void (*ready)(struct watch *, uint32_t));
void loop_rewatch(
    struct watch *w,
    uint32_t events); /* no system call when nothing changes; events may be 0 (errors still arrive) */

/* Stops watching; does not close. Events of this turn that were already fetched for w are dropped, so the
   owner may be freed at once. Must be called before the descriptor is closed. No effect when not watched. */
void loop_unwatch(struct watch *w);

/* Embedded; zero-initialise. */
struct timer {
    int64_t due_ms;
    size_t slot; /* 0 while not set */
    void (*fire)(struct timer *t);
};
bool loop_timer(struct timer *t, int64_t due_ms,
                void (*fire)(struct timer *)); /* sets or moves it; false: no memory */
void loop_untimer(struct timer *t);            /* no effect when not set */

/* Runs fn once at the end of this turn, after all events. Embedded; queued at most once at a time. */
struct later {
    struct later *next;
    bool queued;
    void (*fn)(struct later *l);
};
void loop_later(struct later *l, void (*fn)(struct later *));
void loop_unlater(struct later *l);

int64_t loop_now(void); /* monotonic ms, read once a turn */

int loop_run(void); /* until loop_stop; returns its status */
void loop_stop(int status);

#endif
