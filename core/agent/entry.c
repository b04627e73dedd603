#include "agent/entry.h"

#include <string.h>

#include "agent/escape.h"
#include "agent/loop.h"

static void put_tag(const struct process *p, struct buf *out) {
    buf_puts(out, "\"tag\":");
    if (p->command.tag == NULL)
        buf_puts(out, "null");
    else
        escape_string(out, p->command.tag, strlen(p->command.tag));
}

void entry_start(const struct process *p, struct buf *out) {
    buf_printf(out, "\"id\":\"p-%llu\",\"pid\":%d,", (unsigned long long)p->number, (int)p->pid);
    put_tag(p, out);
}

void entry_created(const struct process *p, struct buf *out) {
    entry_start(p, out);
    buf_puts(out, ",\"cmd\":");
    buf_puts(out, p->command.cmd_json);
}

void entry_exit(const struct process *p, struct buf *out) {
    bool ended = p->state == PROCESS_ENDED;
    int signal = ended ? p->exit_signal : p->gave_up ? 9 : 0;
    if (ended && signal == 0)
        buf_printf(out, "\"exit_code\":%d,", p->exit_code);
    else
        buf_puts(out, "\"exit_code\":null,");
    if (signal != 0)
        buf_printf(out, "\"signal\":%d,", signal);
    else
        buf_puts(out, "\"signal\":null,");
    long long duration = (ended ? p->ended_ms : loop_now()) - p->started_ms;
    buf_printf(out, "\"timed_out\":%s,\"duration_ms\":%lld", p->timed_out ? "true" : "false", duration);
    if (p->kill.survivor_count > 0) {
        buf_puts(out, ",\"survivors\":");
        entry_pids(out, p->kill.survivors, p->kill.survivor_count);
    }
    if (p->limit != NULL) buf_printf(out, ",\"limit\":\"%s\"", p->limit);
}

static void put_channel(const char *name, const struct channel *c, struct buf *out) {
    buf_printf(out, ",\"%s\":{\"start\":%llu,\"end\":%llu,\"dropped\":%llu,\"open\":%s}", name,
               (unsigned long long)c->out.start, (unsigned long long)c->out.end,
               (unsigned long long)c->out.dropped, c->fd >= 0 ? "true" : "false");
}

void entry_fields(const struct process *p, struct buf *out) {
    entry_created(p, out);
    buf_printf(out, ",\"started_at_ms\":%lld,\"running\":%s,", (long long)p->started_wall_ms,
               p->state == PROCESS_ENDED ? "false" : "true");
    entry_exit(p, out);
    buf_printf(out, ",\"foreground\":%s", p->foreground ? "true" : "false");
    put_channel("stdout", &p->channels[0], out);
    put_channel("stderr", &p->channels[1], out);
}

void entry_list(const struct process_set *set, struct buf *out) {
    buf_putc(out, '[');
    const char *separator = "{";
    for (const struct process *p = set->oldest; p != NULL; p = p->newer) {
        if (!p->listed || p->state == PROCESS_STARTING) continue;
        buf_puts(out, separator);
        entry_fields(p, out);
        buf_putc(out, '}');
        separator = ",{";
    }
    buf_putc(out, ']');
}

void entry_pids(struct buf *out, const pid_t *pids, size_t count) {
    buf_putc(out, '[');
    for (size_t i = 0; i < count; i++)
        buf_printf(out, i == 0 ? "%d" : ",%d", (int)pids[i]);
    buf_putc(out, ']');
}
