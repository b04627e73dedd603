/* libcurl sends plain data with MSG_NOSIGNAL, but TLS libraries write to the socket so that a closed peer
   raises SIGPIPE. The library must not change the program's handler; it holds the signal back on this thread
   and removes one that it caused. */
#ifndef CLIENT_SIGPIPE_H
#define CLIENT_SIGPIPE_H

#include <signal.h>
#include <stdbool.h>

struct sigpipe_guard {
    sigset_t before;
    bool was_pending;
};

void sigpipe_block(struct sigpipe_guard *guard);
void sigpipe_restore(struct sigpipe_guard *guard);

/* libcurl from 8.13 on ignores SIGPIPE for the moment in which it closes what a share holds, whatever its
   handles say. One thread at a time puts back what was there before. */
void sigpipe_turn_begin(void);
void sigpipe_turn_end(void);

#endif
