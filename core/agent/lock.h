/* A lock between threads, and waiting for news under it: two futexes, where the C library's can do much more.
 */
#ifndef AGENT_LOCK_H
#define AGENT_LOCK_H

#include <stdatomic.h>

struct lock {
    _Atomic int state; /* 0 = free, 1 = taken, 2 = taken and perhaps waited for */
};

struct news {
    _Atomic int count;
};

void lock_take(struct lock *l);
void lock_drop(struct lock *l);

/* Gives the lock away until there is news, or for no reason: look again at what was waited for. */
void lock_wait(struct lock *l, struct news *n);

/* Wakes one that waits. The news themselves came under the lock, which need not be held any more. */
void lock_tell(struct news *n);

#endif
