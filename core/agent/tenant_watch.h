/* The memory and the processes of each sandbox of a host, watched because the kernel's own limits count each
 * process alone: one pass over /proc for all of them, every INTERVAL_WATCH while any of them has a process,
 * and never more than a 20th of the time.
 *
 * Counted: what the processes of its user have mapped (shared pages once), and its files in /dev/shm. Over
 * the limit the biggest process goes, and its command says why; a sandbox that is over it again and again is
 * left none. Files in /dev/shm that are bigger than any process go instead. */
#ifndef AGENT_TENANT_WATCH_H
#define AGENT_TENANT_WATCH_H

#include <sys/types.h>

#include "agent/tenant.h"
#include "agent/watch.h"

/* A command runs: it is first in line for the out-of-memory killer, and watched until no process is left. */
void tenant_watch_command(pid_t pid);

/* Counts anew, page for page, without holding up the loop: one sandbox, or with NULL all of them together.
 * Ended by watch_unask. */
void tenant_watch_ask(struct tenant *t, struct watch_waiter *w);

#endif
