#include "client/sigpipe.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

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
