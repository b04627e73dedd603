#include "agent/handle_stdin.h"

#include <stdlib.h>

#include "agent/process.h"
#include "agent/sandbox.h"
#include "wire/limits.h"

/* One request that feeds a process. Bytes count from the beginning of the input, so a repeated request feeds
 * only what is new. */
struct feeder {
    struct process_waiter waiter;
    struct exchange *x;
    bool placed;  /* the request said where its bytes stand */
    uint64_t pos; /* where its next byte stands */
    bool eof;
    bool complete; /* the whole body is here */
    bool paused;
    bool answered;
};

static void closed(struct exchange *x) {
    struct feeder *f = x->ctx;
    process_unwait(&f->waiter);
    free(f);
}

static void refuse(struct feeder *f, const char *text, uint64_t offset, uint64_t end) {
    if (f->answered) return;
    f->answered = true;
    exchange_error(f->x, WIRE_CONFLICT, text, (unsigned long long)offset, (unsigned long long)end);
}

static void changed(struct process_waiter *w) {
    struct feeder *f = (struct feeder *)((char *)w - offsetof(struct feeder, waiter));
    const struct input *in = &w->process->input;
    if (f->answered || input_pending(in) > LIMIT_STDIN_PENDING) return;
    if (f->paused) {
        f->paused = false;
        exchange_resume(f->x);
    }
    if (!f->complete) return;
    f->answered = true;
    struct buf json = BUF_INIT(128);
    buf_printf(&json, "{\"offset\":%llu,\"open\":%s}", (unsigned long long)in->taken,
               input_is_open(in) ? "true" : "false");
    exchange_json(f->x, 200, &json);
}

static bool on_body(struct exchange *x, const char *data, size_t len) {
    struct feeder *f = x->ctx;
    struct input *in = &f->waiter.process->input;
    if (!f->placed) f->pos = in->taken;
    if (f->pos < in->taken) {
        uint64_t known = in->taken - f->pos;
        size_t skip = known < len ? (size_t)known : len;
        data += skip;
        len -= skip;
        f->pos += skip;
    }
    if (len == 0) return true;
    if (in->ended) {
        refuse(f, "bytes at offset %llu of an input that was closed at %llu", f->pos, in->taken);
        return false;
    }
    f->pos += len;
    if (!input_feed(in, data, len)) {
        refuse(f, "out of memory for the input at offset %llu of %llu", f->pos, in->taken);
        return false;
    }
    if (input_pending(in) > LIMIT_STDIN_PENDING && !f->paused) {
        f->paused = true;
        exchange_pause(x);
    }
    return true;
}

static void on_body_end(struct exchange *x) {
    struct feeder *f = x->ctx;
    if (f->answered) return;
    f->complete = true;
    struct input *in = &f->waiter.process->input;
    if (f->eof && !in->ended) input_end(in);
    process_changed(f->waiter.process);
}

void handle_stdin(struct exchange *x) {
    struct process *p = NULL;
    enum process_found found = process_find(&x->sandbox->processes, x->param, &p);
    uint64_t offset = 0;
    int placed = http_query_u64(x->request, "offset", &offset);
    if (found == PROCESS_MALFORMED) {
        exchange_error(x, WIRE_INVALID, "malformed process id '%.100s': it is p-<number> or a pid", x->param);
    } else if (found == PROCESS_UNKNOWN) {
        exchange_error(x, WIRE_NO_PROCESS, "no such process: %.100s", x->param);
    } else if (placed < 0) {
        exchange_error(x, WIRE_INVALID, "'offset' must be a number of bytes");
    } else if (!p->input.fed) {
        exchange_error(x, WIRE_CONFLICT, "process p-%llu was started without stdin_open",
                       (unsigned long long)p->number);
    } else if (placed > 0 && offset > p->input.taken) {
        exchange_error(x, WIRE_CONFLICT, "offset %llu is beyond the end of the input so far, %llu",
                       (unsigned long long)offset, (unsigned long long)p->input.taken);
    } else {
        struct feeder *f = calloc(1, sizeof *f);
        if (f == NULL) {
            exchange_error(x, WIRE_INTERNAL, "out of memory");
            return;
        }
        f->x = x;
        f->placed = placed > 0;
        f->pos = offset;
        f->eof = http_query_bool(x->request, "eof", false);
        f->waiter.changed = changed;
        x->ctx = f;
        x->on_body = on_body;
        x->on_body_end = on_body_end;
        x->on_close = closed;
        process_wait(p, &f->waiter);
    }
}
