#include "client/sigpipe.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static bool pending(void) {
    sigset_t set;
    return sigpending(&set) == 0 && sigismember(&set, SIGPIPE) == 1;
}

void sigpipe_block(struct sigpipe_guard *guard) {
    sigset_t pipe_only;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    guard->was_pending = pending();
    pthread_sigmask(SIG_BLOCK, &pipe_only, &guard->before);
}

void sigpipe_restore(struct sigpipe_guard *guard) {
    if (!guard->was_pending && pending()) {
        sigset_t pipe_only;
        sigemptyset(&pipe_only);
        sigaddset(&pipe_only, SIGPIPE);
        const struct timespec now = {0, 0};
        while (sigtimedwait(&pipe_only, NULL, &now) < 0 && errno == EINTR)
            continue;
    }
    pthread_sigmask(SIG_SETMASK, &guard->before, NULL);
}

/* Not a mutex: after fork nobody holds what the parent held. */
static _Atomic pid_t turn;

void sigpipe_turn_begin(void) {
    pid_t own = getpid(), holder = 0;
    while (!atomic_compare_exchange_weak(&turn, &holder, own)) {
        if (holder != own) continue;
        holder = 0;
        sched_yield();
    }
}

void sigpipe_turn_end(void) {
    atomic_store(&turn, 0);
}
