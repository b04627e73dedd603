#include "agent/handle_info.h"

#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/escape.h"
#include "agent/loop.h"
#include "agent/sandbox.h"
#include "wire/limits.h"

const char *handle_info_mode(void) {
    return agent_host() != NULL ? "host" : "dedicated";
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
    buf_printf(&json,
               ",\"mode\":\"%s\",\"features\":" HANDLE_INFO_FEATURES ",\"isolation\":", handle_info_mode());
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
