/* The kernel's readiness interface in one small file, so that a platform without epoll needs another poller.c
 * and nothing else. */
#ifndef CLIENT_POLLER_H
#define CLIENT_POLLER_H

#include <stdbool.h>
#include <stdint.h>

#define POLLER_BATCH 64

struct poller_event {
    uint64_t key;
    unsigned events; /* IO_READ, IO_WRITE, IO_ERROR of io.h */
};

int poller_open(void); /* -1: errno says why */
bool poller_set(int poller, int fd, bool known, unsigned events, uint64_t key);
void poller_remove(int poller, int fd);
int poller_wait(int poller, struct poller_event out[POLLER_BATCH],
                int timeout_ms); /* how many; 0 when interrupted */

/* Wakes a thread that waits in poller_wait: a descriptor that is readable after poller_wake until
 * poller_calm. */
int poller_wake_open(void);
void poller_wake(int wake);
void poller_calm(int wake);

#endif
