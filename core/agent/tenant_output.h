/* The memory for held output is one for all sandboxes of a host: when it is full, those that hold the most of
   it give to those that hold less. */
#ifndef AGENT_TENANT_OUTPUT_H
#define AGENT_TENANT_OUTPUT_H

#include <stdbool.h>

#include "agent/output.h"

bool tenant_output_reclaim(struct output_pool *all, const struct output_pool *asking);

#endif
