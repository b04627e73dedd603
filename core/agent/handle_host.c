/* What concerns a host, or one of its sandboxes, as a whole. */
#include <sys/resource.h>

#include "agent/agent.h"
#include "agent/confine_host.h"
#include "agent/handle_info.h"
#include "agent/route.h"
#include "agent/sandbox.h"
#include "agent/tenant.h"
#include "agent/tenant_watch.h"
#include "util/text.h"

static void sandbox_answer(struct exchange *x, const struct watch_usage *u) {
    const struct tenant *t = x->sandbox->tenant;
    const struct process_set *set = &t->sandbox.processes;
    struct limits limits = t->limits;
    struct rlimit files;
    limits.open_files = CONFINE_HOST_FILES;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max < CONFINE_HOST_FILES)
        limits.open_files = files.rlim_max;
    const struct info_facts f = {.limits = &limits,
                                 .usage = u,
                                 .idle_ms = t->idle_ms,
                                 .began_ms = t->created_ms,
                                 .running = set->running,
                                 .finished = set->finished,
                                 .more = ""};
    handle_info_answer(x, &f);
}

static void sandbox_info(struct exchange *x) {
    struct watch_waiter *w = handle_info_begin(x, sandbox_answer);
    if (w != NULL) tenant_watch_ask(x->sandbox->tenant, w);
}

static void host_answer(struct exchange *x, const struct watch_usage *u) {
    const struct limits none = {.processes = 0};
    char more[96];
    text_format(more, sizeof more, ",\"sandboxes\":%zu,\"capacity\":%zu", tenants_count(),
                tenants_capacity());
    struct info_facts f = {
        .limits = &none, .usage = u, .idle_ms = agent.idle_ms, .began_ms = agent.started_ms, .more = more};
    for (const struct tenant *t = tenants_first(); t != NULL; t = t->next) {
        f.running += t->sandbox.processes.running;
        f.finished += t->sandbox.processes.finished;
    }
    handle_info_answer(x, &f);
}

static void host_info(struct exchange *x) {
    struct watch_waiter *w = handle_info_begin(x, host_answer);
    if (w != NULL) tenant_watch_ask(NULL, w);
}

const struct route handle_host_routes[] = {
    {"GET", "info", BODY_NONE, 0, host_info},
    {"POST", "shutdown", BODY_NONE, 0, handle_shutdown},
    {NULL, NULL, BODY_NONE, 0, NULL},
};
const struct route handle_scoped_routes[] = {
    {"GET", "info", BODY_NONE, 0, sandbox_info},
    {NULL, NULL, BODY_NONE, 0, NULL},
};
