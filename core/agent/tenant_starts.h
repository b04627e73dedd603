/* The loop starts commands, and each start takes it a part of a millisecond. Of those that come at once only
   as many are begun in a turn of the loop as fit into one, the sandboxes taking turns; the others wait for
   the next, so that one sandbox with very many makes nobody else wait for all of them. */
#ifndef AGENT_TENANT_STARTS_H
#define AGENT_TENANT_STARTS_H

#include "agent/route.h"

/* The route itself or, for one that starts a command, the same with a start that waits for its turn. */
const struct route *tenant_starts_route(const struct route *r);

#endif
