#include "agent/handle_info.h"

#include <linux/landlock.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/confine.h"
#include "agent/escape.h"
#include "agent/host.h"
#include "agent/limits.h"
#include "agent/loop.h"
#include "agent/route.h"
#include "agent/sandbox.h"
#include "agent/watch.h"
#include "wire/limits.h"
#include "wire/names.h"

#define FEATURES                                                                                             \
    "[\"" FEATURE_KEYS "\",\"" FEATURE_FRAMES "\",\"" FEATURE_PROCESS "\",\"" FEATURE_FILES                  \
    "\",\"" FEATURE_PARTS "\"]"

static const char *mode(void) {
    return agent.host != NULL ? "host" : "dedicated";
}

static void put_landlock(struct buf *json) {
    static const char *const since[] = {"fs", "refer", "truncate", "net", "ioctl_dev", "scope"};
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    buf_printf(json, "\"landlock\":{\"abi\":%ld,\"features\":[", abi < 0 ? 0 : abi);
    for (long i = 0; i < abi && i < (long)(sizeof since / sizeof *since); i++)
        buf_printf(json, "%s\"%s\"", i > 0 ? "," : "", since[i]);
    buf_puts(json, "]}");
}

void handle_health(struct exchange *x) {
    struct buf json = BUF_INIT(KIB(4));
    buf_printf(&json, "{\"status\":\"ok\",\"protocol\":%d", WIRE_PROTOCOL);
    if (route_token_valid(x->request)) {
        buf_printf(
            &json,
            ",\"version\":\"%s\",\"uptime_ms\":%lld,\"sandboxes\":%zu,\"mode\":\"%s\",\"auth\":\"%s\",",
            agent.version, (long long)(loop_now() - agent.started_ms),
            agent.host != NULL ? agent.host->count() : 0, mode(),
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
    void (*answer)(struct exchange *x, const struct watch_usage *u);
};

static void info_close(struct exchange *x) {
    struct info *i = x->ctx;
    watch_unask(&i->waiter);
    free(i);
}

static void info_counted(struct watch_waiter *w, const struct watch_usage *u) {
    struct info *i = (struct info *)w;
    if (u->known)
        i->answer(i->x, u);
    else
        exchange_error(i->x, WIRE_INTERNAL, "/proc cannot be read");
}

struct watch_waiter *handle_info_begin(struct exchange *x,
                                       void (*answer)(struct exchange *x, const struct watch_usage *u)) {
    struct info *i = calloc(1, sizeof *i);
    if (i == NULL) {
        exchange_error(x, WIRE_INTERNAL, "out of memory");
        return NULL;
    }
    i->waiter.done = info_counted;
    i->x = x;
    i->answer = answer;
    x->ctx = i;
    x->on_close = info_close;
    return &i->waiter;
}

void handle_info_answer(struct exchange *x, const struct info_facts *f) {
    struct buf json = BUF_INIT(MIB(1));
    buf_printf(&json, "{\"version\":\"%s\"", agent.version);
    const char *id = x->sandbox->id;
    if (id[0] != '\0') { /* a job's agent does not know it */
        buf_puts(&json, ",\"id\":");
        escape_string(&json, id, strlen(id));
    }
    buf_printf(&json, ",\"mode\":\"%s\",\"features\":" FEATURES ",\"isolation\":", mode());
    confine_report(&json);
    buf_puts(&json, ",\"network\":");
    confine_report_network(&json);
    buf_puts(&json, ",\"limits\":");
    confine_report_limits(&json, f->limits);
    buf_printf(&json, ",\"usage\":{\"memory\":%llu,\"processes\":%zu,\"disk\":%llu}",
               (unsigned long long)f->usage->memory, f->usage->processes, (unsigned long long)f->usage->disk);
    if (f->idle_ms >= 0)
        buf_printf(&json, ",\"idle_ms\":%lld", (long long)f->idle_ms);
    else
        buf_puts(&json, ",\"idle_ms\":null");
    buf_printf(&json, ",\"uptime_ms\":%lld,\"processes\":{\"running\":%zu,\"finished\":%zu}%s}",
               (long long)(loop_now() - f->began_ms), f->running, f->finished, f->more);
    exchange_json(x, 200, &json);
}

static void machine_answer(struct exchange *x, const struct watch_usage *u) {
    const struct process_set *set = &sandbox_machine.processes;
    const struct info_facts f = {.limits = limits_get(),
                                 .usage = u,
                                 .idle_ms = agent.idle_ms,
                                 .began_ms = agent.started_ms,
                                 .running = set->running,
                                 .finished = set->finished,
                                 .more = ""};
    handle_info_answer(x, &f);
}

static void info(struct exchange *x) {
    struct watch_waiter *w = handle_info_begin(x, machine_answer);
    if (w != NULL) watch_ask(w);
}

void handle_shutdown(struct exchange *x) {
    struct buf json = BUF_INIT(64);
    buf_puts(&json, "{\"ok\":true}");
    exchange_json(x, 200, &json);
    agent_shutdown(0);
}

const struct route handle_machine_routes[] = {
    {"GET", "info", BODY_NONE, 0, info},
    {"POST", "shutdown", BODY_NONE, 0, handle_shutdown},
    {NULL, NULL, BODY_NONE, 0, NULL},
};
