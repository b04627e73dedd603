#include "agent/route.h"

#include <string.h>
#include <strings.h>

#include "agent/agent.h"
#include "agent/host.h"
#include "agent/sandbox.h"
#include "agent/turn.h"
#include "util/testing.h"
#include "util/text.h"
#include "wire/names.h"

bool route_is_secret(const char *given, const char *wanted) {
    return given != NULL && text_equal_secret(given, strlen(given), wanted, strlen(wanted));
}

const char *route_token(const struct http_request *r) {
    const char *given = NULL;
    for (size_t i = 0; i < r->header_count; i++) {
        if (strcasecmp(r->headers[i].name, HEADER_TOKEN) != 0) continue;
        if (given != NULL) return NULL;
        given = r->headers[i].value;
    }
    return given;
}

bool route_token_valid(const struct http_request *r) {
    if (agent.token == NULL || testing_off("token")) return true;
    return route_is_secret(route_token(r), agent.token);
}

static const struct route health_route = {"GET", "health", BODY_NONE, 0, handle_health};

/* Matches a path without outer slashes. What stands for ":id" is found in *param, *param_len; for ":rest*" it
 * is all that follows. */
static bool matches(const char *pattern, const char *path, const char *end, const char **param,
                    size_t *param_len) {
    for (;;) {
        const char *slash = memchr(path, '/', (size_t)(end - path));
        const char *stop = slash != NULL ? slash : end;
        size_t part = strcspn(pattern, "/"), len = (size_t)(stop - path);
        if (pattern[0] == ':') {
            *param = path;
            *param_len = len;
            if (len == 0) return false;
            if (pattern[part - 1] == '*') return true;
        } else if (part != len || memcmp(pattern, path, len) != 0) {
            return false;
        }
        pattern += part;
        if (slash == NULL || *pattern == '\0') return slash == NULL && *pattern == '\0';
        pattern++;
        path = slash + 1;
    }
}

static bool method_matches(const char *wanted, const char *method) {
    if (strcmp(wanted, "*") == 0 || strcmp(wanted, method) == 0) return true;
    return strcmp(wanted, "GET") == 0 && strcmp(method, "HEAD") == 0;
}

static const route_table dedicated[] = {handle_machine_routes, handle_process_routes, handle_files_routes,
                                        handle_proxy_routes, NULL};
const struct route *route_search(struct turn *t, const route_table *tables, const char *path,
                                 const char *end) {
    for (; *tables != NULL; tables++) {
        for (const struct route *r = *tables; r->method != NULL; r++) {
            const char *param = NULL;
            size_t len = 0;
            if (!method_matches(r->method, t->x.request->method) ||
                !matches(r->pattern, path, end, &param, &len))
                continue;
            if (param == NULL) return r;
            if (r->pattern[strlen(r->pattern) - 1] == '*') {
                t->x.param = param; /* the rest of the target, its trailing slashes included */
                return r;
            }
            if (len >= sizeof t->param) return NULL;
            memcpy(t->param, param, len);
            t->param[len] = '\0';
            t->x.param = t->param;
            return r;
        }
    }
    return NULL;
}

const struct route *route_refuse(struct exchange *x) {
    exchange_error(x, WIRE_FORBIDDEN, "invalid or missing " HEADER_TOKEN);
    return NULL;
}

const struct route *route_below(struct exchange *x, const route_table *tables, const char *path,
                                const char *end) {
    const struct http_request *r = x->request;
    bool ours = end - path > 3 && memcmp(path, "v1/", 3) == 0;
    const struct route *found = ours ? route_search((struct turn *)x, tables, path + 3, end) : NULL;
    if (found == NULL) exchange_error(x, WIRE_NO_ROUTE, "no route: %s %s", r->method, r->target);
    return found;
}

const struct route *route_find(struct exchange *x, bool *authenticated) {
    const struct http_request *r = x->request;
    const char *path = r->target + strspn(r->target, "/"), *end = strchr(path, '\0');
    while (end > path && end[-1] == '/')
        end--;
    size_t len = (size_t)(end - path);
    x->sandbox = &sandbox_machine;
    if (len == 6 && memcmp(path, "health", 6) == 0 && method_matches("GET", r->method)) return &health_route;
    if (agent_host() != NULL) return agent_host()->route(x, path, end, authenticated);
    if (!route_token_valid(r)) return route_refuse(x);
    *authenticated = true;
    return route_below(x, dedicated, path, end);
}
