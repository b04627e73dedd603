/* The descendants of a process, as /proc shows them. */
#ifndef AGENT_DESCEND_H
#define AGENT_DESCEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct descend_entry {
    pid_t pid, parent;
    uint64_t started; /* tells it from a later process with its number */
};

/* All descendants of root, without itself, in *out, which the caller frees. False: no memory, or no /proc. */
bool descend_list(pid_t root, struct descend_entry **out, size_t *count);

/* It as a pidfd; -1 when it is gone, even if its number has passed to another. */
int descend_open(const struct descend_entry *entry);
void descend_signal(int pidfd, int number);

/* Kills all descendants of the calling process. Without a pid namespace that is a race against forks, so it
   goes on until nobody is left. The caller is a subreaper and inherits all whose parents have died, so nobody
   can leave its tree. */
void descend_end(void);

#endif
