/* Routes of a host, and below v1/sandboxes/<id>/ those of one sandbox, for who knows its token. */
#include "agent/route_host.h"

#include <string.h>

#include "agent/agent.h"
#include "agent/conn.h"
#include "agent/sandbox.h"
#include "agent/tenant.h"
#include "agent/tenant_disk.h"
#include "agent/tenant_starts.h"
#include "agent/turn.h"
#include "util/testing.h"
#include "wire/names.h"

#define BELOW "v1/sandboxes/"

#define CONNECTIONS_SHARE                                                                                    \
    4 /* one sandbox may have so much of all connections busy, so that others get in                         \
       */

static const route_table scoped[] = {handle_scoped_routes, handle_process_routes, handle_files_routes,
                                     handle_proxy_routes, NULL};

static const route_table absent[] = {handle_absent_routes, NULL};
static const route_table host[] = {handle_host_routes, handle_sandboxes_routes, NULL};

/* The host's token opens each sandbox too, unless that is switched off; one sandbox's token opens nothing
 * else. */
static bool scoped_token_valid(const struct http_request *r, const struct tenant *t) {
    if (agent.compatible_token && route_token_valid(r)) return true;
    const char *given = route_token(r);
    return t != NULL && (route_is_secret(given, t->token) || testing_off("tenant-token"));
}

static const char *end_of_id(const char *path, const char *end) {
    const char *id = path + strlen(BELOW);
    return memchr(id, '/', (size_t)(end - id));
}

/* The token of a sandbox is the host's to tell. */
static bool is_scoped(const char *path, const char *end) {
    if ((size_t)(end - path) <= strlen(BELOW) || memcmp(path, BELOW, strlen(BELOW)) != 0) return false;
    const char *slash = end_of_id(path, end);
    return slash != NULL && !(end - slash == 6 && memcmp(slash, "/token", 6) == 0);
}

/* Newer clients of the Hub end a sandbox with its own token, by the route that is its host's. */
static bool ends_itself(const struct http_request *r, const char *path, const char *end) {
    size_t below = strlen(BELOW);
    if (strcmp(r->method, "DELETE") != 0 || (size_t)(end - path) <= below || memcmp(path, BELOW, below) != 0)
        return false;
    const struct tenant *t = tenant_find(path + below, (size_t)(end - path) - below);
    return t != NULL && route_is_secret(route_token(r), t->token);
}

static const struct route *find_scoped(struct exchange *x, const char *path, const char *end,
                                       bool *authenticated) {
    const char *id = path + strlen(BELOW), *slash = end_of_id(path, end);
    size_t len = (size_t)(slash - id);
    struct tenant *t = tenant_find(id, len);
    if (!scoped_token_valid(x->request, t)) return route_refuse(x);
    *authenticated = true;
    conn_make_room(x->conn); /* for others than those who keep theirs for nothing */
    if (t != NULL) x->sandbox = &t->sandbox;
    if (x->sandbox->under_way > agent.max_connections / CONNECTIONS_SHARE && t != NULL &&
        !testing_off("tenant-connections")) {
        exchange_error(x, WIRE_BUSY, "too many requests of sandbox %s are under way", t->id);
        return NULL;
    }
    const struct route *found = route_search((struct turn *)x, t != NULL ? scoped : absent, slash + 1, end);
    if (found == NULL && t == NULL)
        exchange_error(x, WIRE_NO_SANDBOX, "no such sandbox: %.*s", (int)(len < 64 ? len : 64), id);
    else if (found == NULL)
        exchange_error(x, WIRE_NO_ROUTE, "no route: %s %s", x->request->method, x->request->target);
    if (found == NULL || t == NULL) return found;
    return tenant_disk_admits(x, found) ? tenant_starts_route(found) : NULL;
}

const struct route *route_host_find(struct exchange *x, const char *path, const char *end,
                                    bool *authenticated) {
    if (is_scoped(path, end)) return find_scoped(x, path, end, authenticated);
    if (!route_token_valid(x->request) && !ends_itself(x->request, path, end)) return route_refuse(x);
    *authenticated = true;
    return route_below(x, host, path, end);
}
