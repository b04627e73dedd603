#include "agent/route.h"

#include <linux/landlock.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/confine.h"
#include "agent/escape.h"
#include "agent/loop.h"
#include "agent/process.h"
#include "agent/watch.h"
#include "agent/turn.h"
#include "util/testing.h"
#include "util/text.h"
#include "wire/limits.h"
#include "wire/names.h"

#define FEATURES                                                                                             \
    "[\"" FEATURE_KEYS "\",\"" FEATURE_FRAMES "\",\"" FEATURE_PROCESS "\",\"" FEATURE_FILES                  \
    "\",\"" FEATURE_PARTS "\"]"

/* True without a token too when the agent was started with --allow-no-auth. */
static bool token_valid(const struct http_request *r) {
    const char *given = NULL;
    if (agent.token == NULL || testing_off("token")) return true;
    for (size_t i = 0; i < r->header_count; i++) {
        if (strcasecmp(r->headers[i].name, HEADER_TOKEN) != 0) continue;
        if (given != NULL) return false; /* two: whose are they? */
        given = r->headers[i].value;
    }
    return given != NULL && text_equal_secret(given, strlen(given), agent.token, strlen(agent.token));
}

static const char *mode(void) {
    return "dedicated";
}

static void put_landlock(struct buf *json) {
    static const char *const since[] = {"fs", "refer", "truncate", "net", "ioctl_dev", "scope"};
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    buf_printf(json, "\"landlock\":{\"abi\":%ld,\"features\":[", abi < 0 ? 0 : abi);
    for (long i = 0; i < abi && i < (long)(sizeof since / sizeof *since); i++)
        buf_printf(json, "%s\"%s\"", i > 0 ? "," : "", since[i]);
    buf_puts(json, "]}");
}

static void health(struct exchange *x) {
    struct buf json = BUF_INIT(KIB(4));
    buf_printf(&json, "{\"status\":\"ok\",\"protocol\":%d", WIRE_PROTOCOL);
    if (token_valid(x->request)) {
        buf_printf(&json,
                   ",\"version\":\"%s\",\"uptime_ms\":%lld,\"sandboxes\":0,\"mode\":\"%s\",\"auth\":\"%s\",",
                   agent.version, (long long)(loop_now() - agent.started_ms), mode(),
                   agent.token != NULL ? "required" : "disabled");
        put_landlock(&json);
        buf_puts(&json, ",\"features\":" FEATURES);
    }
    buf_putc(&json, '}');
    exchange_json(x, 200, &json);
}

struct info {
    struct watch_waiter waiter; /* first, so that the one is the other */
    struct exchange *x;
};

static void info_close(struct exchange *x) {
    struct info *i = x->ctx;
    watch_unask(&i->waiter);
    free(i);
}

static void info_answer(struct watch_waiter *w, const struct watch_usage *u) {
    struct exchange *x = ((struct info *)w)->x;
    struct buf json = BUF_INIT(MIB(1));
    if (!u->known) {
        exchange_error(x, WIRE_INTERNAL, "/proc cannot be read");
        return;
    }
    buf_printf(&json, "{\"version\":\"%s\"", agent.version);
    if (agent.id[0] != '\0') { /* a job's agent does not know it */
        buf_puts(&json, ",\"id\":");
        escape_string(&json, agent.id, strlen(agent.id));
    }
    buf_printf(&json, ",\"mode\":\"%s\",\"features\":" FEATURES ",\"isolation\":", mode());
    confine_report(&json);
    buf_puts(&json, ",\"network\":");
    confine_report_network(&json);
    buf_puts(&json, ",\"limits\":");
    confine_report_limits(&json);
    buf_printf(&json, ",\"usage\":{\"memory\":%llu,\"processes\":%zu,\"disk\":%llu}",
               (unsigned long long)u->memory, u->processes, (unsigned long long)u->disk);
    if (agent.idle_ms >= 0)
        buf_printf(&json, ",\"idle_ms\":%lld", (long long)agent.idle_ms);
    else
        buf_puts(&json, ",\"idle_ms\":null");
    buf_printf(&json, ",\"uptime_ms\":%lld,\"processes\":{\"running\":%zu,\"finished\":%zu}}",
               (long long)(loop_now() - agent.started_ms), process_running(), process_finished());
    exchange_json(x, 200, &json);
}

static void info(struct exchange *x) {
    struct info *i = calloc(1, sizeof *i);
    if (i == NULL) {
        exchange_error(x, WIRE_INTERNAL, "out of memory");
        return;
    }
    i->waiter.done = info_answer;
    i->x = x;
    x->ctx = i;
    x->on_close = info_close;
    watch_ask(&i->waiter);
}

static void shutdown_now(struct exchange *x) {
    struct buf json = BUF_INIT(64);
    buf_puts(&json, "{\"ok\":true}");
    exchange_json(x, 200, &json);
    agent_shutdown(0);
}

static const struct route health_route = {"GET", "health", BODY_NONE, 0, health};
static const struct route machine_routes[] = {
    {"GET", "info", BODY_NONE, 0, info},
    {"POST", "shutdown", BODY_NONE, 0, shutdown_now},
    {NULL, NULL, BODY_NONE, 0, NULL},
};

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

static const struct route *find(struct turn *t, const char *path, const char *end) {
    const struct route *tables[] = {machine_routes, handle_process_routes, handle_files_routes,
                                    handle_proxy_routes};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        for (const struct route *r = tables[i]; r->method != NULL; r++) {
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

const struct route *route_find(struct exchange *x, bool *authenticated) {
    const struct http_request *r = x->request;
    const char *path = r->target + strspn(r->target, "/"), *end = strchr(path, '\0');
    while (end > path && end[-1] == '/')
        end--;
    size_t len = (size_t)(end - path);
    if (len == 6 && memcmp(path, "health", 6) == 0 && method_matches("GET", r->method)) return &health_route;
    if (!token_valid(r)) {
        exchange_error(x, WIRE_FORBIDDEN, "invalid or missing " HEADER_TOKEN);
        return NULL;
    }
    *authenticated = true;
    const struct route *found =
        len > 3 && memcmp(path, "v1/", 3) == 0 ? find((struct turn *)x, path + 3, end) : NULL;
    if (found == NULL) exchange_error(x, WIRE_NO_ROUTE, "no route: %s %s", r->method, r->target);
    return found;
}
