#include "agent/confine.h"

#include <stdarg.h>
#include <string.h>

#include "agent/escape.h"
#include "agent/limits.h"
#include "agent/privileges.h"
#include "agent/rawcall.h"
#include "util/testing.h"
#include "util/text.h"

static const struct confine_step dedicated_steps[] = {
    {"agent-memory", CONFINE_HIDE_DETAIL, privileges_hide, CONFINE_AT_NONE, 0},
};
static const struct confine_table dedicated = {dedicated_steps, 1, NULL, NULL};

static const struct confine_table *table = &dedicated;
static enum confine_level level;
static bool host_network;
static const char *home_dir, *tmp_dir;

bool confine_fail(struct confine_error *e, const char *step, int error, const char *remedy,
                  const char *format, ...) {
    va_list args;
    va_start(args, format);
    text_vformat(e->text, sizeof e->text, format, args);
    va_end(args);
    text_format(e->remedy, sizeof e->remedy, "%s", remedy);
    e->step = step;
    e->error = error;
    return false;
}

bool confine_error_json(const struct confine_error *e, struct buf *out) {
    buf_puts(out, "{\"ready\":false,\"step\":");
    escape_string(out, e->step, strlen(e->step));
    buf_puts(out, ",\"error\":");
    escape_string(out, e->text, strlen(e->text));
    buf_printf(out, ",\"errno\":%d,\"remedy\":", e->error);
    escape_string(out, e->remedy, strlen(e->remedy));
    return buf_putc(out, '}');
}

static struct {
    bool part, required, holds;
    char why[256]; /* it does not hold */
} rows[CONFINE_STEPS];

static bool run_step(size_t i, const struct confine_config *c, struct confine_error *e) {
    const struct confine_step *step = &table->steps[i];
    unsigned at = 1U << (c->level);
    rows[i].part = (step->part & at) != 0;
    rows[i].required = (step->required & at) != 0 || ((step->required & CONFINE_WITH_HOST_NETWORK) != 0 &&
                                                      c->host_network && c->level == CONFINE_FULL);
    if (!rows[i].part) return true;
    bool off = testing_off(step->name);
    rows[i].holds = !off && step->apply(c, e);
    if (off || rows[i].holds) return true;
    text_format(rows[i].why, sizeof rows[i].why, "%s", e->text);
    return !rows[i].required;
}

bool confine_run(const struct confine_table *t, const struct confine_config *c, struct confine_error *e) {
    table = t;
    level = c->level;
    host_network = c->host_network || level == CONFINE_NONE || level == CONFINE_HOST;
    for (size_t i = 0; i < t->count; i++)
        if (!run_step(i, c, e)) return false;
    return true;
}

void confine_dedicated(void) {
    const struct confine_config c = {.level = CONFINE_NONE};
    struct confine_error e;
    confine_run(&dedicated, &c, &e);
}

RAWCALL_CHILD int confine_child(const struct sandbox *sandbox) {
    return table->child != NULL ? table->child(sandbox) : 0;
}

void confine_places(const char *home, const char *tmp) {
    home_dir = home;
    tmp_dir = tmp;
}

const char *confine_home(void) {
    return home_dir;
}

const char *confine_tmp(void) {
    return tmp_dir;
}

bool confine_report_network(struct buf *out) {
    return buf_puts(out, host_network ? "\"host\"" : "\"none\"");
}

static const char *detail_of(size_t i) {
    if (!rows[i].holds) return rows[i].why;
    const char *own = table->detail != NULL ? table->detail(&table->steps[i]) : NULL;
    return own != NULL ? own : table->steps[i].detail;
}

bool confine_report(struct buf *out) {
    static const char *const levels[] = {"none", "landlock", "full", "host"};
    const char *comma = "";
    buf_printf(out, "{\"level\":\"%s\",\"steps\":[", levels[level]);
    for (size_t i = 0; i < table->count; i++) {
        if (!rows[i].part) continue;
        const char *detail = detail_of(i);
        buf_printf(out, "%s{\"name\":\"%s\",\"holds\":%s,\"required\":%s,\"detail\":", comma,
                   table->steps[i].name, rows[i].holds ? "true" : "false",
                   rows[i].required ? "true" : "false");
        escape_string(out, detail, strlen(detail));
        buf_putc(out, '}');
        comma = ",";
    }
    return buf_puts(out, "]}");
}

bool confine_report_limits(struct buf *out, const struct limits *l) {
    return buf_printf(out, "{\"processes\":%llu,\"memory\":%llu,\"disk\":%llu,\"open_files\":%llu}",
                      (unsigned long long)l->processes, (unsigned long long)l->memory,
                      (unsigned long long)l->disk, (unsigned long long)l->open_files);
}
