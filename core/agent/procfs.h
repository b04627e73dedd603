/* Looking at processes through /proc. Two descriptors are kept for it, so that commands can be found and
   ended also when all the others are in use. */
#ifndef AGENT_PROCFS_H
#define AGENT_PROCFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct procfs_stat {
    char state;
    pid_t parent, group, session;
    bool kernel; /* a thread of the kernel */
    uint64_t threads;
    uint64_t started; /* clock ticks after boot */
};

void procfs_init(void); /* again and again it has no effect; without /proc every look finds nothing */

/* Begins a list of all processes, and its next one: 0 = that was all. */
bool procfs_list(void);
pid_t procfs_next(void);

bool procfs_stat(pid_t pid, struct procfs_stat *out);
bool procfs_realtime_limit(pid_t pid, uint64_t *hard); /* RLIMIT_RTTIME; UINT64_MAX = unlimited */
int procfs_pidfd(pid_t pid);                           /* -1: errno */

/* Something could not be looked at for want of a descriptor or memory since the last call. Takes the two
 * descriptors back. */
bool procfs_fell_short(void);

/* Nothing of it runs any more. A process whose first thread has ended is shown as a zombie while others run.
 */
bool procfs_is_dead(const struct procfs_stat *stat);

/* Pure: the lines of /proc/<pid>/stat and limits. */
bool procfs_parse_stat(const char *text, struct procfs_stat *out);
bool procfs_parse_limits(const char *text, uint64_t *hard);

#endif
