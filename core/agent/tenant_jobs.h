/* The workers are for all sandboxes of a host: of each only a few jobs stand in their queue, the others wait
   here, so that one with very many makes nobody else wait. */
#ifndef AGENT_TENANT_JOBS_H
#define AGENT_TENANT_JOBS_H

#include "agent/tenant.h"
#include "agent/workers.h"

void tenant_jobs_submit(struct tenant *t, struct job *j);
void tenant_jobs_completed(struct tenant *t); /* at the begin of each such job's done */

#endif
