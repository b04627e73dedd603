/* The descendants of a process, as /proc shows them. */
#ifndef AGENT_DESCEND_H
#define AGENT_DESCEND_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct descend_entry {
    pid_t pid, parent;
};

/* All descendants of root, without itself, in *out, which the caller frees. False: no memory, or no /proc. */
bool descend_list(pid_t root, struct descend_entry **out, size_t *count);

/* SIGKILL to all of them, once; who forks meanwhile needs another round. */
void descend_kill(pid_t root);

#endif
