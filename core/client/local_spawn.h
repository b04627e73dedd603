/* Starts an agent as a child of this process without forking it: descriptors, signals and environment as the
 * agent expects them. */
#ifndef CLIENT_LOCAL_SPAWN_H
#define CLIENT_LOCAL_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "hfsandbox/hfsandbox.h"

struct local_child {
    pid_t pid;   /* of the keeper; 0 = not a child of this process */
    int pidfd;   /* readable when it has ended; -1 = none */
    int control; /* attached: the control socket; else -1 */
    int status;  /* the reading end of its status line, non-blocking; -1 once read */
};
#define LOCAL_CHILD_INIT                                                                                     \
    { .pid = 0, .pidfd = -1, .control = -1, .status = -1 }

/* config is copied into a sealed memory file. On failure nothing runs and *child is as LOCAL_CHILD_INIT. */
sbx_status local_spawn(struct local_child *child, const char *agent, const char *config, size_t config_len,
                       bool detached, sbx_error *err);

/* True when it has ended within timeout_ms. It is then reaped, and its descriptors are closed. *how (may be
   NULL) says how it ended: a wait status, or -1 when it is not ours to ask (another's child, or the host
   program reaped it). */
bool local_spawn_wait(struct local_child *child, int timeout_ms, int *how);

void local_spawn_signal(int pidfd, int signal_number); /* exactly that process, or nothing */

int local_spawn_pidfd(pid_t pid);                  /* -1 with errno */
bool local_spawn_ended(int pidfd, int timeout_ms); /* true when it has ended within that time */

#endif
