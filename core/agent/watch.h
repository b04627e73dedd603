/* The total memory of a sandbox, watched because the kernel's own limits count each process alone.
 *
 * Counted: what its processes have mapped (shared pages once), its memfds and System V segments. What it
 * keeps in files is bounded by the size of its disk instead. Between two looks a limit can be exceeded by
 * what can be touched in INTERVAL_WATCH. Not counted: what the kernel keeps for it in pipes and sockets
 * (bounded by the numbers of open files and processes alone), and memfds that only processes hold which made
 * themselves unreadable. Control groups would bound these; they are not used yet. */
#ifndef AGENT_WATCH_H
#define AGENT_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "util/buf.h"

void watch_start(uint64_t limit); /* once, on the loop; 0 = no limit */
void watch_wake(void);            /* a command was started: look until no process is left */

/* {"memory","processes","disk"} now, as JSON; page-exact, so not for every request of a busy client. */
bool watch_report(struct buf *out);

#endif
