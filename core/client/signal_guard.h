/* The library must not change what signals do in the program, and must not let it be hit by one that the
   library itself causes: TLS libraries write to sockets so that a closed peer raises SIGPIPE, and a file that
   grows over RLIMIT_FSIZE raises SIGXFSZ. Both come to the thread that does it: the guard holds the signal
   back on this thread, and removes one that came meanwhile. */
#ifndef CLIENT_SIGNAL_GUARD_H
#define CLIENT_SIGNAL_GUARD_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct signal_guard {
    int number;
    sigset_t before;
    bool was_pending;
};

void signal_guard_begin(struct signal_guard *guard, int number);
void signal_guard_end(struct signal_guard *guard); /* leaves errno alone */

/* Writes all of it, guarded. False with errno: EFBIG over the limit. */
bool signal_guard_write(int fd, const void *data, size_t len, uint64_t at);

/* libcurl from 8.13 on ignores SIGPIPE for the moment in which it closes what a share holds, whatever its
   handles say. One thread at a time puts back what was there before. */
void signal_guard_turn_begin(void);
void signal_guard_turn_end(void);

#endif
