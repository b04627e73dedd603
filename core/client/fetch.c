#include "client/fetch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/files.h"
#include "client/request.h"
#include "client/sandbox.h"

#define FRUITLESS_MAX 3 /* connections in a row that brought nothing */
#define RESTARTS_MAX  5

static void ask(struct fetch *f);

void fetch_free(struct fetch *f) {
    free(f->path);
    f->path = NULL;
}

/* Goes on where the file was lost, or at its beginning when nobody can say that it is still the same file. */
static void go_on(struct fetch *f, bool same, const sbx_error *why) {
    bool resumable = same && f->etag[0] != '\0' && (f->op->sandbox->endpoint.features & ENDPOINT_FILES) != 0;
    if (f->got == 0 || resumable) {
        ask(f);
        return;
    }
    if (f->restarts++ == RESTARTS_MAX) {
        op_fail(f->op, why);
        return;
    }
    f->got = 0;
    f->etag[0] = '\0';
    if (f->restart(f)) ask(f);
}

static void failed(struct op *op, const sbx_error *error, void *ctx) {
    struct fetch *f = ctx;
    bool lost = error->code == SBX_ERROR_CONNECTION && error->http_status == 0;
    bool changed = error->code == SBX_ERROR_MISMATCH && f->got > 0;
    f->fruitless = f->got > f->got_before ? 0 : f->fruitless + 1;
    if (changed || (lost && f->got > f->got_before) || (lost && f->got > 0 && f->fruitless < FRUITLESS_MAX)) {
        go_on(f, !changed, error);
    } else {
        op_fail(op, error);
    }
}

static bool on_head(void *ctx, const struct transfer_head *head) {
    struct fetch *f = ctx;
    if (f->got == 0) memcpy(f->etag, head->etag, sizeof f->etag);
    if (head->length < 0) return true;
    uint64_t total = f->got + (uint64_t)head->length;
    if (total > f->max) {
        op_failf(f->op, SBX_ERROR_TOO_LARGE, "%s: %llu bytes, over the limit of %llu: %s", f->op->name,
                 (unsigned long long)total, (unsigned long long)f->max, f->too_large);
        return false;
    }
    return f->expect == NULL || f->expect(f, total);
}

static enum transfer_flow on_data(void *ctx, const char *data, size_t len) {
    struct fetch *f = ctx;
    if (len > f->max - f->got) {
        op_failf(f->op, SBX_ERROR_TOO_LARGE, "%s: more than %llu bytes: %s", f->op->name,
                 (unsigned long long)f->max, f->too_large);
        return TRANSFER_STOP;
    }
    if (f->length > 0 && len > f->length - f->got) {
        op_failf(f->op, SBX_ERROR_PROTOCOL, "%s: the peer sends more than was asked for", f->op->name);
        return TRANSFER_STOP;
    }
    if (!f->take(f, data, len, f->got)) return TRANSFER_STOP;
    f->got += len;
    return TRANSFER_TAKEN;
}

static void complete(struct op *op, struct request_reply *reply, void *ctx) {
    (void)op;
    (void)reply;
    struct fetch *f = ctx;
    f->done(f);
}

static void ask(struct fetch *f) {
    char match[160];
    f->got_before = f->got;
    struct buf target = files_target("read", f->path);
    if (f->offset + f->got > 0) request_query_u64(&target, "offset", f->offset + f->got);
    if (f->length > 0) request_query_u64(&target, "length", f->length - f->got);
    struct request_spec spec = {.method = "GET",
                                .log_route = "files/read",
                                .what = "reading a file",
                                .target = target.data,
                                .repeatable = true,
                                .silence_ms = f->silence_ms,
                                .on_head = on_head,
                                .on_data = on_data,
                                .ctx = f,
                                .done = complete,
                                .on_error = failed};
    if (f->got > 0) {
        snprintf(match, sizeof match, "If-Match: %s", f->etag);
        spec.headers[0] = match;
    }
    if (target.failed) {
        op_fail_memory(f->op);
    } else if (f->length > 0 && f->got == f->length) {
        f->done(f); /* only the end of the answer was lost */
    } else {
        request_start(f->op, &spec);
    }
    buf_free(&target);
}

void fetch_start(struct fetch *f) {
    ask(f);
}
