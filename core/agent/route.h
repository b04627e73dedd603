/* The table of routes and the order of checks before them: health, token, route. */
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

/* Each route family offers its table, ended by a route without method. Those of the machine, of a host and
   its sandboxes, of a sandbox and of one that is not there: */
extern const struct route handle_machine_routes[];
extern const struct route handle_host_routes[];
extern const struct route handle_sandboxes_routes[];
extern const struct route handle_scoped_routes[];
extern const struct route handle_absent_routes[];
extern const struct route handle_process_routes[];
extern const struct route handle_files_routes[];
extern const struct route handle_proxy_routes[];

void handle_health(struct exchange *x);
void handle_shutdown(struct exchange *x);

typedef const struct route *route_table;
struct turn;

/* For route_host.c: the route among the tables, ended by NULL, for a path after its prefix; the token that
   was shown, NULL when it is none, or two (whose are they?); a 403. */
const struct route *route_search(struct turn *t, const route_table *tables, const char *path,
                                 const char *end);
/* The same for a whole path, with its error. */
const struct route *route_below(struct exchange *x, const route_table *tables, const char *path,
                                const char *end);
const char *route_token(const struct http_request *r);
bool route_is_secret(const char *given, const char *wanted);
const struct route *route_refuse(struct exchange *x);

bool route_token_valid(const struct http_request *r); /* the machine's; true where the agent asks for none */

/* Called by conn at the head: finds the route, checks the token and sets
   x->sandbox, or answers the error itself and returns NULL. */
const struct route *route_find(struct exchange *x, bool *authenticated);

#endif
