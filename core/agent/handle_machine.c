/* What concerns the machine as a whole: health, info, shutdown. */
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/handle_info.h"
#include "agent/host.h"
#include "agent/limits.h"
#include "agent/loop.h"
#include "agent/route.h"
#include "agent/sandbox.h"
#include "agent/watch.h"
#include "wire/limits.h"
#include "wire/names.h"

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
            agent_host() != NULL ? agent_host()->count() : 0, handle_info_mode(),
            agent.token != NULL ? "required" : "disabled");
        put_landlock(&json);
        buf_puts(&json, ",\"features\":" HANDLE_INFO_FEATURES);
    }
    buf_putc(&json, '}');
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
