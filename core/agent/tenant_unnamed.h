/* What the files of a sandbox take that no directory shows: unlinked ones that its processes still have open,
   and uploads that the agent has not put in place yet. Not seen: what is only mapped, or on its way through a
   socket. */
#ifndef AGENT_TENANT_UNNAMED_H
#define AGENT_TENANT_UNNAMED_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/tenant.h"

struct tenant_unnamed;

struct tenant_unnamed *tenant_unnamed_new(const struct tenant *t,
                                          bool uploads); /* NULL: no memory, no /proc */
void tenant_unnamed_free(struct tenant_unnamed *u);      /* also NULL */

/* On a worker: goes on until the deadline (clock_us). True: *sum is complete; UINT64_MAX: too many to be
 * counted. */
bool tenant_unnamed_some(struct tenant_unnamed *u, int64_t deadline_us, uint64_t *sum);

#endif
