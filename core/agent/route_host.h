/* The routes of host mode. */
#ifndef AGENT_ROUTE_HOST_H
#define AGENT_ROUTE_HOST_H

#include "agent/route.h"

extern const route_table route_host_tables[]; /* of the host itself */

bool route_host_is_scoped(const char *path, const char *end); /* it concerns one sandbox */
/* It ends the sandbox whose token it shows. */
bool route_host_ends_itself(const struct http_request *r, const char *path, const char *end);
const struct route *route_host_find(struct exchange *x, const char *path, const char *end,
                                    bool *authenticated);

#endif
