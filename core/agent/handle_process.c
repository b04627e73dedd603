/* The process routes: those of the Hub's clients, and what core/wire/README.md adds. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "agent/entry.h"
#include "agent/handle_stdin.h"
#include "agent/json_in.h"
#include "agent/process.h"
#include "agent/route.h"
#include "agent/sandbox.h"
#include "agent/stream.h"
#include "util/testing.h"
#include "wire/limits.h"
#include "wire/names.h"

#define ANSWER_MAX MIB(64)
#define WAIT_MOST  60000

/* A request that is answered when a process has changed in the way it waits for. */
struct request {
    struct process_waiter waiter;
    struct exchange *x;
    struct timer timer;
    struct signal_tree *signal;
    bool was_running;
    bool keep; /* the entry, and the output with it */
    bool answered;
    bool created; /* POST processes: the answer has cmd too */
};

static struct request *request_of(struct process_waiter *w) {
    return (struct request *)((char *)w - offsetof(struct request, waiter));
}

static void closed(struct exchange *x) {
    struct request *r = x->ctx;
    process_unwait(&r->waiter);
    loop_untimer(&r->timer);
    if (r->signal != NULL) signal_tree_forget(r->signal);
    free(r);
}

static struct request *make_request(struct exchange *x) {
    struct request *r = calloc(1, sizeof *r);
    if (r == NULL) {
        exchange_error(x, WIRE_INTERNAL, "out of memory");
        return NULL;
    }
    r->x = x;
    x->ctx = r;
    x->on_close = closed;
    return r;
}

static void answer_object(struct exchange *x, const struct process *p,
                          void (*fields)(const struct process *, struct buf *)) {
    struct buf json = BUF_INIT(ANSWER_MAX);
    buf_putc(&json, '{');
    fields(p, &json);
    buf_putc(&json, '}');
    exchange_json(x, 200, &json);
}

/* Answers the error itself when there is no such process. */
static struct process *find(struct exchange *x) {
    struct process *p = NULL;
    switch (process_find(&x->sandbox->processes, x->param, &p)) {
    case PROCESS_FOUND:
        return p;
    case PROCESS_MALFORMED:
        exchange_error(x, WIRE_INVALID, "malformed process id '%.100s': it is p-<number> or a pid", x->param);
        return NULL;
    case PROCESS_UNKNOWN:
        exchange_error(x, WIRE_NO_PROCESS, "no such process: %.100s", x->param);
        return NULL;
    }
    return NULL;
}

/* ---- exec and processes */

static void creation_changed(struct process_waiter *w) {
    struct request *r = request_of(w);
    struct process *p = w->process;
    if (p->state == PROCESS_STARTING || r->answered) return;
    r->answered = true;
    if (p->state == PROCESS_FAILED)
        stream_answer_failed(r->x, p->command.argv[0], p->command.cwd, p->spawn_step, p->spawn_error);
    else
        answer_object(r->x, p, r->created ? entry_created : entry_start);
    process_unwait(w);
}

static void answer_creation(struct exchange *x, struct process *p, bool created) {
    struct request *r = make_request(x);
    if (r == NULL) return;
    r->created = created;
    r->waiter.changed = creation_changed;
    process_wait(p, &r->waiter);
}

static void answer_start(struct exchange *x, struct process *p, bool stream, bool created,
                         bool until_closed) {
    if (!stream) {
        answer_creation(x, p, created);
        return;
    }
    struct stream_options options = {.from = {0, 0}, .follow = true, .until_closed = until_closed};
    stream_attach(p, x, &options);
}

static void start_refused(struct exchange *x, const struct command *c, int error) {
    if (error == EBUSY)
        exchange_error(x, WIRE_BUSY, "no more commands can be started now; %zu run",
                       x->sandbox->processes.running);
    else
        exchange_error(x, WIRE_BUSY, "failed to spawn: %s", strerror(error));
    (void)c;
}

static void start(struct exchange *x, bool exec) {
    struct command c;
    struct command_error why;
    const char *key = testing_off("keys") ? NULL : http_header(x->request, HEADER_KEY);
    struct key *known = NULL;
    enum key_state state = key == NULL ? KEY_NEW : keys_find(&x->sandbox->keys, key, loop_now(), &known);
    if (state == KEY_MALFORMED) {
        exchange_error(x, WIRE_INVALID, "malformed " HEADER_KEY ": it is <name>.<number>");
    } else if (state == KEY_FULL) {
        exchange_error(x, WIRE_BUSY, "too many clients use keys");
    } else if (state == KEY_FORGOTTEN) {
        exchange_error(x, WIRE_GONE, "the request with the key '%s' is no longer remembered and is not run",
                       key);
    } else if (!command_parse(x->body.data, x->body.len, x->sandbox->env, x->sandbox->cwd, &c, &why)) {
        exchange_error(x, WIRE_INVALID, "%s", why.text);
    } else {
        bool stream = exec && !c.background, until_closed = c.until_closed;
        int error = 0;
        struct process *p;
        if (state == KEY_KNOWN) {
            p = process_of_key(known);
            command_free(&c);
        } else {
            p = process_start(x->sandbox, &c, stream, key, &error);
        }
        if (p == NULL)
            start_refused(x, &c, error);
        else
            answer_start(x, p, stream, !exec, until_closed);
    }
}

static void post_exec(struct exchange *x) {
    start(x, true);
}

static void post_processes(struct exchange *x) {
    start(x, false);
}

/* ---- Looking */

static void get_processes(struct exchange *x) {
    struct buf json = BUF_INIT(ANSWER_MAX);
    entry_list(&x->sandbox->processes, &json);
    exchange_json(x, 200, &json);
}

static void answer_entry(struct request *r) {
    if (r->answered) return;
    r->answered = true;
    loop_untimer(&r->timer);
    answer_object(r->x, r->waiter.process, entry_fields);
    process_unwait(&r->waiter);
}

static void wait_over(struct timer *t) {
    answer_entry((struct request *)((char *)t - offsetof(struct request, timer)));
}

/* Its last output is not waited for long: somebody else's reader may take nothing of it. */
static void wait_changed(struct process_waiter *w) {
    struct request *r = request_of(w);
    const struct process *p = w->process;
    int64_t latest = p->ended_ms + TIMEOUT_DRAIN_EXIT;
    if (process_exit_known(p))
        answer_entry(r);
    else if (p->state == PROCESS_ENDED && !p->kill.active && latest < r->timer.due_ms &&
             !testing_off("drain-limit"))
        loop_timer(&r->timer, latest, wait_over);
}

static void get_process(struct exchange *x) {
    uint64_t wait_ms = 0;
    struct process *p = find(x);
    if (p == NULL) return;
    if (http_query_u64(x->request, "wait_ms", &wait_ms) < 0 || wait_ms > WAIT_MOST) {
        exchange_error(x, WIRE_INVALID, "'wait_ms' must be a number from 0 to %d", WAIT_MOST);
        return;
    }
    if (wait_ms == 0 || process_exit_known(p)) {
        answer_object(x, p, entry_fields);
        return;
    }
    struct request *r = make_request(x);
    if (r == NULL) return;
    r->waiter.changed = wait_changed;
    /* The turn may have begun up to a millisecond ago: never answer too early. */
    loop_timer(&r->timer, loop_now() + (int64_t)wait_ms + 1, wait_over);
    process_wait(p, &r->waiter);
}

static bool take_offset(struct exchange *x, const char *name, const struct output *out, uint64_t *from) {
    *from = STREAM_OLDEST;
    int found = http_query_u64(x->request, name, from);
    if (found < 0) {
        exchange_error(x, WIRE_INVALID, "'%s' must be an offset", name);
        return false;
    }
    if (found > 0 && *from > out->end) {
        exchange_error(x, WIRE_INVALID, "'%s' is %llu, beyond the end of the output at %llu", name,
                       (unsigned long long)*from, (unsigned long long)out->end);
        return false;
    }
    return true;
}

static void get_output(struct exchange *x) {
    struct process *p = find(x);
    struct stream_options options = {.follow = http_query_bool(x->request, "follow", false)};
    if (p == NULL || !take_offset(x, "stdout", &p->channels[0].out, &options.from[0]) ||
        !take_offset(x, "stderr", &p->channels[1].out, &options.from[1]))
        return;
    struct buf end = BUF_INIT(64);
    bool given = http_query(x->request, "end", &end);
    options.until_closed = given && strcmp(end.data, "closed") == 0;
    bool ok = !given || options.until_closed || strcmp(end.data, "exit") == 0;
    buf_free(&end);
    if (ok)
        stream_attach(p, x, &options);
    else
        exchange_error(x, WIRE_INVALID, "'end' must be exit or closed");
}

/* ---- Ending */

static void put_killed(struct request *r, struct buf *json) {
    const struct process *p = r->waiter.process;
    buf_printf(json, "{\"id\":\"p-%llu\",\"ok\":true,\"killed\":%s,\"signalled\":%zu,\"survivors\":",
               (unsigned long long)p->number, r->was_running ? "true" : "false", p->kill.signalled);
    entry_pids(json, p->kill.survivors, p->kill.survivor_count);
    buf_putc(json, '}');
}

static void delete_changed(struct process_waiter *w) {
    struct request *r = request_of(w);
    struct process *p = w->process;
    if (r->answered || p->kill.active || (p->state != PROCESS_ENDED && !p->gave_up)) return;
    r->answered = true;
    struct buf json = BUF_INIT(ANSWER_MAX);
    put_killed(r, &json);
    exchange_json(r->x, 200, &json);
    process_unwait(w);
    if (p->state == PROCESS_ENDED && !r->keep) process_forget(p);
}

static void delete_process(struct exchange *x) {
    struct process *p = NULL;
    enum process_found found = process_find(&x->sandbox->processes, x->param, &p);
    if (found == PROCESS_UNKNOWN) { /* a repeated request: it is gone, as was asked */
        struct buf json = BUF_INIT(KIB(4));
        buf_printf(&json, "{\"id\":\"%.40s\",\"ok\":true,\"killed\":false,\"signalled\":0,\"survivors\":[]}",
                   x->param);
        exchange_json(x, 200, &json);
        return;
    }
    if (found == PROCESS_MALFORMED) {
        find(x);
        return;
    }
    struct request *r = make_request(x);
    if (r == NULL) return;
    r->was_running = p->state == PROCESS_RUNNING && !p->deleted;
    r->keep = http_query_bool(x->request, "keep", false);
    r->waiter.changed = delete_changed;
    p->deleted = true;
    process_kill(p);
    process_wait(p, &r->waiter);
}

static void answer_signalled(struct exchange *x, const struct process *p, size_t count,
                             const pid_t *survivors, size_t survivor_count) {
    struct buf json = BUF_INIT(ANSWER_MAX);
    buf_printf(&json, "{\"id\":\"p-%llu\",\"signalled\":%zu,\"survivors\":", (unsigned long long)p->number,
               count);
    entry_pids(&json, survivors, survivor_count);
    buf_putc(&json, '}');
    exchange_json(x, 200, &json);
}

static void tree_signalled(void *ctx, const struct tree_op *op) {
    struct request *r = ctx;
    r->signal = NULL;
    answer_signalled(r->x, r->waiter.process, op->signalled, op->survivors, op->survivor_count);
    process_unwait(&r->waiter);
}

static void nothing_changed(struct process_waiter *w) {
    (void)w; /* it waits for the signal alone, and keeps the process until then */
}

static bool parse_signal(struct exchange *x, int *number, bool *tree) {
    const char *why;
    uint64_t value = 0;
    char *scope = NULL;
    struct json_doc *doc = json_in_parse(x->body.len > 0 ? x->body.data : "", x->body.len, &why);
    if (doc == NULL) {
        exchange_error(x, WIRE_INVALID, "the body is not valid JSON: %s", why);
        return false;
    }
    bool ok = json_in_u64(doc, json_in_get(doc, 0, "signal"), &value) && value >= 1 && value <= 64;
    json_at at = json_in_get(doc, 0, "scope");
    if (at >= 0) scope = json_in_strdup(doc, at);
    bool scope_ok = at < 0 || (scope != NULL && (strcmp(scope, "tree") == 0 || strcmp(scope, "leader") == 0));
    *tree = scope == NULL || strcmp(scope, "tree") == 0;
    *number = (int)value;
    free(scope);
    json_in_free(doc);
    if (!ok)
        exchange_error(x, WIRE_INVALID, "'signal' must be a number from 1 to 64");
    else if (!scope_ok)
        exchange_error(x, WIRE_INVALID, "'scope' must be \"tree\" or \"leader\"");
    return ok && scope_ok;
}

static void post_signal(struct exchange *x) {
    int number;
    bool tree;
    struct process *p = find(x);
    if (p == NULL || !parse_signal(x, &number, &tree)) return;
    if (p->state != PROCESS_RUNNING) {
        exchange_error(x, WIRE_CONFLICT, "process p-%llu has ended", (unsigned long long)p->number);
        return;
    }
    if (!tree) {
        answer_signalled(x, p, kill(p->pid, number) == 0 ? 1 : 0, NULL,
                         0); /* not reaped, so the pid is its own */
        return;
    }
    struct request *r = make_request(x);
    if (r == NULL) return;
    r->waiter.changed = nothing_changed;
    process_wait(p, &r->waiter);
    r->signal = signal_tree_send(p, number, tree_signalled, r);
    if (r->signal == NULL) exchange_error(x, WIRE_INTERNAL, "out of memory");
}

const struct route handle_process_routes[] = {
    {"POST", "exec", BODY_BUFFERED, LIMIT_JSON_BODY, post_exec},
    {"POST", "processes", BODY_BUFFERED, LIMIT_JSON_BODY, post_processes},
    {"GET", "processes", BODY_NONE, 0, get_processes},
    {"GET", "processes/:id", BODY_NONE, 0, get_process},
    {"DELETE", "processes/:id", BODY_NONE, 0, delete_process},
    {"GET", "processes/:id/output", BODY_NONE, 0, get_output},
    {"PUT", "processes/:id/stdin", BODY_STREAMED, 0, handle_stdin},
    {"POST", "processes/:id/signal", BODY_BUFFERED, LIMIT_SMALL_BODY, post_signal},
    {NULL, NULL, BODY_NONE, 0, NULL},
};
