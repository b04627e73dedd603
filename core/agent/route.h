/* The table of routes, the order of checks before them (PROTOCOL 5: health, token, route) and the small
   handlers: health, info, shutdown. */
#ifndef AGENT_ROUTE_H
#define AGENT_ROUTE_H

#include "agent/conn.h"

enum route_body {
    BODY_NONE,     /* a body is read and dropped */
    BODY_BUFFERED, /* start is called when it is complete; over body_max: 413 */
    BODY_STREAMED  /* start is called at the head */
};

struct route {
    const char *method;  /* "*" = any */
    const char *pattern; /* "processes/:id/output", "proxy/:rest*" (everything after it, slashes included) */
    enum route_body body;
    size_t body_max;
    void (*start)(struct exchange *x);
};

/* Each route family offers its table, ended by a route without method. */
extern const struct route handle_process_routes[];
extern const struct route handle_files_routes[];
extern const struct route handle_proxy_routes[];

/* Called by conn at the head: finds the route, checks the token, or answers the error itself and returns
 * NULL. */
const struct route *route_find(struct exchange *x, bool *authenticated);

#endif
