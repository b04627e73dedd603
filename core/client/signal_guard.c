#include "client/signal_guard.h"

#include <errno.h>
#include <pthread.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "client/fork_lock.h"
#include "util/testing.h"

static bool pending(int number) {
    sigset_t set;
    return sigpending(&set) == 0 && sigismember(&set, number) == 1;
}

static sigset_t only(int number) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    return set;
}

void signal_guard_begin(struct signal_guard *guard, int number) {
    const sigset_t set = only(number);
    guard->number = number;
    guard->was_pending = pending(number);
    pthread_sigmask(SIG_BLOCK, &set, &guard->before);
}

void signal_guard_end(struct signal_guard *guard) {
    int error = errno;
    if (!guard->was_pending && pending(guard->number)) {
        const sigset_t set = only(guard->number);
        const struct timespec now = {0, 0};
        while (sigtimedwait(&set, NULL, &now) < 0 && errno == EINTR)
            continue;
    }
    pthread_sigmask(SIG_SETMASK, &guard->before, NULL);
    errno = error;
}

bool signal_guard_write(int fd, const void *data, size_t len, uint64_t at) {
    const char *from = data;
    struct signal_guard guard;
    bool guarded = !testing_off("file-size-signal"), ok = true;
    if (guarded) signal_guard_begin(&guard, SIGXFSZ);
    while (ok && len > 0) {
        ssize_t n = pwrite(fd, from, len, (off_t)at);
        ok = n >= 0 || errno == EINTR;
        if (n <= 0) continue;
        from += n;
        len -= (size_t)n;
        at += (uint64_t)n;
    }
    if (guarded) signal_guard_end(&guard);
    return ok;
}

static struct fork_lock turn;

void signal_guard_turn_begin(void) {
    fork_lock_take(&turn);
}

void signal_guard_turn_end(void) {
    fork_lock_give(&turn);
}
