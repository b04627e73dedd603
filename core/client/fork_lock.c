#include "client/fork_lock.h"

#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "util/clock.h"

#define TURNS 100 /* before it sleeps in between */

bool fork_lock_take_within(struct fork_lock *lock, int64_t ms) {
    pid_t own = getpid(), holder = 0;
    int64_t until = ms < 0 ? CLOCK_NEVER : clock_deadline(ms);
    for (unsigned turn = 0; !atomic_compare_exchange_weak(&lock->holder, &holder, own);) {
        if (holder != own) continue; /* free, or taken before a fork */
        holder = 0;
        if (++turn < TURNS) {
            sched_yield();
        } else if (clock_ms() >= until) {
            return false;
        } else {
            nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
        }
    }
    return true;
}

void fork_lock_take(struct fork_lock *lock) {
    fork_lock_take_within(lock, -1);
}

void fork_lock_give(struct fork_lock *lock) {
    atomic_store(&lock->holder, 0);
}
