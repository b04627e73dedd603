/* Where processes are found: all of them by number and by pid, those of a sandbox in the order of their
   starts, and its ended ones in the order of their ends, of which only the latest are kept. */
#ifndef AGENT_PROCESS_TABLE_H
#define AGENT_PROCESS_TABLE_H

#include "agent/process.h"

void process_table_enter(struct process *p);
void process_table_leave(struct process *p);
void process_table_finish(struct process *p); /* ended, and nothing more to be said about it */

struct process *process_table_running(pid_t pid); /* a command that runs, of whatever sandbox; NULL: none */
bool process_table_starting(pid_t pid);           /* it may still share the agent's memory */
void process_table_each(void (*fn)(struct process *p));

/* The output_pool.reclaim of a set. */
bool process_table_reclaim(struct output_pool *pool, const struct output_pool *asking);

#endif
