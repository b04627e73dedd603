/* The table of processes: every command, foreground or background, from its start to being forgotten. */
#ifndef AGENT_PROCESS_H
#define AGENT_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct process;

struct process *process_find(const char *id); /* "p-3" or a bare pid; NULL = unknown; *malformed ids are unknown too */
size_t process_running(void);                 /* commands that run now: they count as activity */
size_t process_finished(void);
int64_t process_last_end(void);               /* loop_now() when the last one ended; 0 = none yet */

/* At shutdown: SIGTERM to every tree, then SIGKILL after grace_ms; done is called when nothing is left or after twice that time. */
void process_end_all(int64_t grace_ms, void (*done)(void));

/* A limit of the whole sandbox was hit ("memory"): ends that command's tree and lets its exit event say so. */
void process_limit_hit(pid_t pid, const char *limit);

#endif
