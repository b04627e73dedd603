/* The routes of host mode. */
#ifndef AGENT_ROUTE_HOST_H
#define AGENT_ROUTE_HOST_H

#include "agent/route.h"

const struct route *route_host_find(struct exchange *x, const char *path, const char *end,
                                    bool *authenticated);

#endif
