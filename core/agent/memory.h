/* What a process has in memory, as /proc says. Any thread. */
#ifndef AGENT_MEMORY_H
#define AGENT_MEMORY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct memory {
    uint64_t own, shared; /* shared: its part of what several have mapped */
};

uint64_t memory_resident(pid_t pid); /* everything it maps: never less than its part */

/* Page for page, which takes its time. False: it made itself unreadable, and counts with everything it maps.
 */
bool memory_exact(pid_t pid, struct memory *out);

/* The number in column `index` of a line of columns; 0 when there is none. */
uint64_t memory_column(const char *line, int index);

#endif
