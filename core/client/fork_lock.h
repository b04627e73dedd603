/* A lock for a few instructions, of the whole process. Not a mutex: after fork nobody holds what the parent
 * held. */
#ifndef CLIENT_FORK_LOCK_H
#define CLIENT_FORK_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct fork_lock { /* static, zero */
    _Atomic pid_t holder;
};

void fork_lock_take(struct fork_lock *lock);
bool fork_lock_take_within(struct fork_lock *lock, int64_t ms); /* false: somebody holds it that long */
void fork_lock_give(struct fork_lock *lock);

#endif
