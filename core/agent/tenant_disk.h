/* The files of each sandbox of a host, counted because there are no quotas: a worker walks through the home,
 * some milliseconds at a time, INTERVAL_DISK after the last walk's begin while the sandbox is used, and never
 * for more than a 20th of the time. Each file counts with its blocks and what its entry takes; so do unlinked
 * ones that are still open, and uploads under way.
 *
 * When the home has grown over the limit, or grows while it is over it, all commands of the sandbox are
 * ended, and writes through the API are refused until it is below. Deleting goes on. */
#ifndef AGENT_TENANT_DISK_H
#define AGENT_TENANT_DISK_H

#include <stdbool.h>

#include "agent/conn.h"
#include "agent/route.h"
#include "agent/tenant.h"

void tenant_disk_start(void);

/* Whether a request may be served: false, and a 507 was answered, when it would write beyond the limit. */
bool tenant_disk_admits(struct exchange *x, const struct route *r);

#endif
