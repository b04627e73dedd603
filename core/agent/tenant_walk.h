/* What the files below a directory take, counted a piece at a time. */
#ifndef AGENT_TENANT_WALK_H
#define AGENT_TENANT_WALK_H

#include <stdbool.h>
#include <stdint.h>

struct tenant_walk;

struct tenant_walk *tenant_walk_new(int home); /* O_PATH will do; kept open by the caller. NULL: errno */
void tenant_walk_free(struct tenant_walk *w);  /* also NULL */

/* Goes on until the deadline (clock_us). True: *sum is complete; UINT64_MAX where directories are nested so
 * deep that it cannot be counted. */
bool tenant_walk_some(struct tenant_walk *w, int64_t deadline_us, uint64_t *sum);

#endif
