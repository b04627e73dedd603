#include "agent/file_op.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/agent.h"
#include "agent/escape.h"
#include "agent/host.h"
#include "agent/sandbox.h"
#include "agent/tenant.h"
#include "util/text.h"
#include "wire/limits.h"

static struct file_op *op_of(struct job *j) {
    return (struct file_op *)((char *)j - offsetof(struct file_op, job));
}

static void submit(struct file_op *op) {
    struct tenant *t = op->path.sandbox->tenant;
    if (t != NULL)
        agent_host()->submit(t, &op->job);
    else
        workers_submit(&op->job);
}

static void completed(const struct file_op *op) {
    struct tenant *t = op->path.sandbox->tenant;
    if (t != NULL) agent_host()->completed(t);
}

static void free_op(struct file_op *op) {
    if (op->forget != NULL) op->forget(op);
    if (op->path.sandbox->tenant != NULL) op->path.sandbox->tenant->held--;
    file_path_free(&op->path);
    free(op);
}

/* In host mode a worker has the rights of the sandbox whose files it touches. */
static bool become(const struct file_op *op) {
    const struct tenant *t = op->path.sandbox->tenant;
    return t == NULL || agent_host()->become(t);
}

static void come_back(const struct file_op *op) {
    const struct tenant *t = op->path.sandbox->tenant;
    if (t != NULL) agent_host()->come_back(t);
}

static void release_work(struct job *j) {
    struct file_op *op = op_of(j);
    if (!become(op)) return; /* what it holds is closed with the agent */
    op->release(op);
    come_back(op);
}

static void release_done(struct job *j) {
    completed(op_of(j));
    free_op(op_of(j));
}

static void end(struct file_op *op) {
    if (op->release != NULL && op->held) {
        op->job.work = release_work;
        op->job.done = release_done;
        submit(op);
        return;
    }
    if (op->release != NULL) op->release(op);
    free_op(op);
}

void file_op_close(struct exchange *x) {
    struct file_op *op = x->ctx;
    x->ctx = NULL;
    op->x = NULL;
    atomic_store(&op->cancel, true);
    if (!op->running && !op->answering) end(op); /* else run_done sees to it */
}

static void run_work(struct job *j) {
    struct file_op *op = op_of(j);
    op->again = false;
    if (atomic_load(&op->cancel)) return;
    if (!become(op)) {
        file_op_fail(&op->error, EPERM);
        return;
    }
    op->work(op);
    come_back(op);
}

static void run_done(struct job *j) {
    struct file_op *op = op_of(j);
    completed(op);
    if (op->x != NULL && op->again) {
        submit(op);
        return;
    }
    if (op->x != NULL) {
        /* The answer may find the peer gone and close the exchange; `answering` keeps op until done has
         * returned. */
        op->running = false;
        op->answering = true;
        op->done(op);
        op->answering = false;
        if (op->running) return;
    }
    op->running = false;
    if (op->x == NULL) end(op);
}

void file_op_run(struct file_op *op, void (*work)(struct file_op *), void (*done)(struct file_op *)) {
    op->work = work;
    op->done = done;
    op->job.work = run_work;
    op->job.done = run_done;
    op->running = true;
    submit(op);
}

bool file_op_path(struct exchange *x, const char *parameter, struct file_path *out) {
    struct buf value = BUF_INIT(3 * LIMIT_PATH);
    const char *why = NULL;
    bool found = http_query(x->request, parameter, &value);
    bool ok = false;
    if (value.failed) {
        exchange_error(x, WIRE_INVALID, "the query parameter '%s' is longer than 4095 bytes", parameter);
    } else if (!found || value.len == 0) {
        exchange_error(x, WIRE_INVALID, "the query parameter '%s' is required", parameter);
    } else if (!file_path_init(out, x->sandbox, value.data, value.len, &why)) {
        exchange_error(x, WIRE_INVALID, "query parameter '%s': %s", parameter, why);
    } else {
        ok = true;
    }
    buf_free(&value);
    return ok;
}

int file_op_number(struct exchange *x, const char *parameter, uint64_t *out) {
    int found = http_query_u64(x->request, parameter, out);
    if (found < 0)
        exchange_error(x, WIRE_INVALID,
                       "the query parameter '%s' must be a decimal number from 0 to 2^64 - 1", parameter);
    if (found > 0 && *out > INT64_MAX) *out = INT64_MAX;
    return found;
}

bool file_op_field(struct exchange *x, const char *name, char **out) {
    struct buf joined = BUF_INIT(LIMIT_HEAD);
    for (size_t i = 0; i < x->request->header_count; i++) {
        const struct http_header *h = &x->request->headers[i];
        if (strcasecmp(h->name, name) != 0) continue;
        if (joined.data != NULL) buf_putc(&joined, ',');
        buf_append(&joined, h->value, h->value_len);
    }
    *out = NULL;
    if (joined.failed) {
        buf_free(&joined);
        exchange_error(x, WIRE_INTERNAL, "out of memory");
        return false;
    }
    *out = joined.data; /* NULL when there was none */
    return true;
}

void *file_op_new(struct exchange *x, size_t size, void (*release)(struct file_op *op)) {
    return file_op_new_for(x, "path", size, release);
}

void *file_op_new_for(struct exchange *x, const char *parameter, size_t size,
                      void (*release)(struct file_op *op)) {
    struct file_path path;
    if (!file_op_path(x, parameter, &path)) return NULL;
    struct file_op *op = calloc(1, size);
    if (op == NULL) {
        file_path_free(&path);
        exchange_error(x, WIRE_INTERNAL, "out of memory");
        return NULL;
    }
    if (x->sandbox->tenant != NULL) x->sandbox->tenant->held++;
    op->x = x;
    op->path = path;
    op->release = release;
    x->ctx = op;
    x->on_close = file_op_close;
    return op;
}

bool file_op_fail(struct file_error *e, int error_number) {
    e->code = codes_from_errno(error_number);
    e->number = error_number;
    return false;
}

bool file_op_fail_as(struct file_error *e, enum wire_code code) {
    e->code = code;
    e->number = 0;
    return false;
}

bool file_op_fail_code(struct file_error *e, enum wire_code code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    text_vformat(e->detail, sizeof e->detail, format, args);
    va_end(args);
    return file_op_fail_as(e, code);
}

static const char *reason(const struct file_error *e) {
    switch (e->code) {
    case WIRE_NOT_FOUND:
        return "no such file";
    case WIRE_IS_DIRECTORY:
        return "is a directory";
    case WIRE_NOT_DIRECTORY:
        return "not a directory";
    case WIRE_NOT_REGULAR:
        return "not a regular file";
    case WIRE_NOT_EMPTY:
        return "directory not empty";
    case WIRE_EXISTS:
        return "exists already";
    case WIRE_MISMATCH:
        return "the entity tag does not match";
    case WIRE_NO_SPACE:
        return e->number != 0 ? strerror(e->number) : "no space left";
    default:
        return e->number != 0 ? strerror(e->number) : NULL;
    }
}

void file_op_answer_error(struct file_op *op) {
    const char *text = reason(&op->error), *detail = op->error.detail;
    if (text == NULL) {
        exchange_error(op->x, op->error.code, "%s: %s", detail, op->path.text);
    } else if (detail[0] != '\0') {
        exchange_error(op->x, op->error.code, "%s: %s (%s)", text, op->path.text, detail);
    } else {
        exchange_error(op->x, op->error.code, "%s: %s", text, op->path.text);
    }
}

void file_op_answer_path(struct file_op *op, const char *key) {
    struct buf json = BUF_INIT(8 * LIMIT_PATH);
    buf_printf(&json, "{\"%s\":", key);
    escape_string(&json, op->path.text, op->path.len);
    buf_putc(&json, '}');
    exchange_json(op->x, 200, &json);
}
