#include "client/files_parts.h"

#include <string.h>

#include "client/farewell.h"
#include "client/request.h"
#include "client/sandbox.h"
#include "util/testing.h"
#include "util/text.h"
#include "wire/limits.h"

#define FROM        MIB(1)
#define TRIES       4                 /* of a part whose reply was lost, where request.c cannot repeat it */
#define PROGRESS_MS testing_ms(60000) /* as in files_read.c */

bool parts_pay(const sbx_sandbox *sandbox, uint64_t len) {
    bool far = sandbox->endpoint.trouble != NULL && (sandbox->endpoint.features & ENDPOINT_PARTS) != 0;
    return far && len > FROM && !testing_off("far-streams");
}

static struct buf part_target(const struct parts *p) {
    struct buf target = BUF_INIT(8 * LIMIT_PATH);
    buf_puts(&target, p->target);
    request_query(&target, "part", p->name);
    return target;
}

/* Nothing of it is sent any more. */
static void stop(struct parts *p) {
    request_stop_all(p->op);
    parts_end(p);
}

void parts_end(struct parts *p) {
    if (p->name[0] == '\0') return;
    struct buf target = part_target(p);
    if (!target.failed && !testing_off("parts-removed")) farewell_part(p->op->sandbox, target.data);
    buf_free(&target);
    p->name[0] = '\0';
}

static void give_up(struct parts *p, const sbx_error *error) {
    sbx_error copy = *error;
    stop(p);
    p->failed(p->op, &copy, p->ctx);
}

/* ---- The end: the unfinished file takes its place */

static void committed(struct op *op, struct request_reply *reply, void *ctx) {
    struct parts *p = ctx;
    p->name[0] = '\0';
    p->done(op, reply, p->ctx);
}

static void commit_failed(struct op *op, const sbx_error *error, void *ctx) {
    sbx_error copy = *error;
    if (copy.code == SBX_ERROR_NOT_FOUND) {
        error_set(&copy, SBX_ERROR_CONNECTION, "%s: writing a file: the parts that were sent are gone",
                  op->name);
        copy.http_status = 0;
    }
    give_up(ctx, &copy);
}

static void commit(struct parts *p) {
    struct buf target = part_target(p);
    struct request_spec spec = {.method = "PUT",
                                .log_route = "files/write",
                                .what = "writing a file",
                                .target = target.data,
                                .body = "",
                                .needs = ENDPOINT_FILES,
                                .repeatable = p->condition == NULL,
                                .silence_ms = PROGRESS_MS,
                                .done = committed,
                                .on_error = commit_failed,
                                .ctx = p};
    if (p->condition != NULL) spec.headers[0] = p->condition;
    if (target.failed) {
        op_fail_memory(p->op);
    } else {
        request_start(p->op, &spec);
    }
    buf_free(&target);
}

/* ---- The parts. False: the op may have ended. */

static bool part_send(struct part *s);

static void go_on(struct parts *p) {
    uint64_t size = files_part(p->len);
    for (size_t i = 0; i < FILES_STREAMS && p->next < p->len; i++) {
        struct part *s = &p->streams[i];
        if (s->end > 0) continue;
        *s = (struct part){.parts = p, .from = p->next};
        s->end = p->len - p->next < size ? p->len : p->next + size;
        p->next = s->end;
        p->busy++;
        if (!part_send(s)) return;
    }
    if (p->busy == 0) commit(p);
}

static void part_done(struct op *op, struct request_reply *reply, void *ctx) {
    struct part *s = ctx;
    (void)op;
    (void)reply;
    s->end = 0;
    s->parts->busy--;
    go_on(s->parts);
}

static void part_failed(struct op *op, const sbx_error *error, void *ctx) {
    struct part *s = ctx;
    bool lost = error->http_status == 0 &&
                (error->code == SBX_ERROR_CONNECTION || error->code == SBX_ERROR_UNKNOWN_OUTCOME);
    (void)op;
    if (lost && s->parts->data == NULL && s->tries < TRIES) {
        part_send(s);
    } else {
        give_up(s->parts, error);
    }
}

static size_t part_read(void *ctx, char *into, size_t len) {
    struct part *s = ctx;
    if (s->end - s->at < len) len = (size_t)(s->end - s->at);
    size_t got = len > 0 ? s->parts->read(s->parts->ctx, into, len, s->at) : 0;
    if (got != TRANSFER_READ_FAILED) s->at += got;
    return got;
}

static bool part_send(struct part *s) {
    struct parts *p = s->parts;
    s->tries++;
    s->at = s->from;
    struct buf target = part_target(p);
    request_query_u64(&target, "offset", s->from);
    struct request_spec spec = {.method = "PUT",
                                .log_route = "files/write",
                                .what = "writing a file",
                                .target = target.data,
                                .content_type = "application/octet-stream",
                                .body_len = s->end - s->from,
                                .repeatable = true,
                                .silence_ms = PROGRESS_MS,
                                .done = part_done,
                                .on_error = part_failed,
                                .ctx = s};
    if (p->data != NULL) {
        spec.body = p->data + s->from;
    } else {
        spec.read = part_read;
        spec.fresh = s->tries > 1;
    }
    bool ok = !target.failed;
    if (!ok) op_fail_memory(p->op);
    if (ok) ok = request_start(p->op, &spec) != NULL;
    buf_free(&target);
    return ok;
}

void parts_start(struct parts *p) {
    memset(p->streams, 0, sizeof p->streams);
    p->next = 0;
    p->busy = 0;
    if (!text_random_hex(12, p->name)) {
        p->name[0] = '\0';
        op_failf(p->op, SBX_ERROR_SYSTEM, "%s: the system gives no random bytes", p->op->name);
        return;
    }
    go_on(p);
}
