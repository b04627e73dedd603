#include "agent/lock.h"

#include <errno.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The value was just read: when it is another one by now, there is no waiting. Callers keep their errno. */
static void sleep_while(_Atomic int *at, int value) {
    int error = errno;
    syscall(SYS_futex, at, FUTEX_WAIT_PRIVATE, value, NULL);
    errno = error;
}

static void wake_one(_Atomic int *at) {
    syscall(SYS_futex, at, FUTEX_WAKE_PRIVATE, 1);
}

void lock_take(struct lock *l) {
    int expected = 0;
    if (atomic_compare_exchange_strong(&l->state, &expected, 1)) return;
    while (atomic_exchange(&l->state, 2) != 0)
        sleep_while(&l->state, 2);
}

void lock_drop(struct lock *l) {
    if (atomic_exchange(&l->state, 0) == 2) wake_one(&l->state);
}

void lock_wait(struct lock *l, struct news *n) {
    int seen = atomic_load(&n->count);
    lock_drop(l);
    sleep_while(&n->count, seen);
    lock_take(l);
}

void lock_tell(struct news *n) {
    atomic_fetch_add(&n->count, 1);
    wake_one(&n->count);
}
