/* The total memory of a sandbox, watched because the kernel's own limits count each process alone.
 *
 * Counted: what its processes have mapped (shared pages once), its System V segments, semaphores and
 * messages. What it keeps in files is bounded by the size of its disk instead, and files in memory without a
 * name are refused (seccomp.c). Between two looks a limit can be exceeded by what can be touched in
 * INTERVAL_WATCH. Not counted: what the kernel keeps for it in pipes and sockets (bounded by the numbers of
 * open files and processes alone). Control groups would bound these; they are not used yet. Who cannot be
 * looked at for long is ended. */
#ifndef AGENT_WATCH_H
#define AGENT_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct watch_usage {
    bool known; /* false: /proc could not be read */
    uint64_t memory, disk;
    size_t processes;
};

struct watch_waiter {
    void (*done)(struct watch_waiter *w, const struct watch_usage *u); /* once; may free w */
    struct watch_waiter *next, **link;                                 /* link NULL: not waiting */
    const struct tenant *about;                                        /* for tenant_watch.c */
};

void watch_start(uint64_t limit); /* once, on the loop; 0 = no limit */
void watch_wake(void);            /* a command was started: look until no process is left */

/* Counts now, page for page, without holding up the loop. */
void watch_ask(struct watch_waiter *w);
void watch_unask(struct watch_waiter *w); /* no effect when not waiting */

#endif
