#include "client/fetch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/request.h"
#include "client/sandbox.h"
#include "util/testing.h"
#include "wire/limits.h"

#define FRUITLESS_MAX 3 /* connections in a row that brought nothing */
#define RESTARTS_MAX  5
#define FIRST         MIB(1) /* is asked for before anything is known about a file that is far away */

static bool ask(struct fetch_range *r);
static void begin(struct fetch *f);

void fetch_free(struct fetch *f) {
    free(f->path);
    f->path = NULL;
}

static bool tells_changes(const struct fetch *f) {
    return (f->op->sandbox->endpoint.features & ENDPOINT_FILES) != 0;
}

/* ---- After a loss */

static void start_again(struct fetch *f, const sbx_error *why) {
    if (f->restarts++ == RESTARTS_MAX) {
        op_fail(f->op, why);
        return;
    }
    request_stop_all(f->op);
    if (f->restart(f)) begin(f);
}

static void failed(struct op *op, const sbx_error *error, void *ctx) {
    struct fetch_range *r = ctx;
    struct fetch *f = r->fetch;
    bool lost = error->code == SBX_ERROR_CONNECTION && error->http_status == 0;
    bool changed = error->code == SBX_ERROR_MISMATCH && f->began;
    bool moved = r->at > r->at_before;
    r->fruitless = moved ? 0 : r->fruitless + 1;
    if (!changed && !(lost && (moved || (f->began && r->fruitless < FRUITLESS_MAX)))) {
        op_fail(op, error);
    } else if (!changed && (!f->began || (f->etag[0] != '\0' && tells_changes(f)))) {
        ask(r);
    } else {
        start_again(f, error); /* or nobody can say that it is still the same file */
    }
}

/* ---- What comes */

/* The size that a tag tells (core/wire/README.md). */
static bool size_of(const char *etag, uint64_t *out) {
    unsigned long long device, inode, size;
    if (sscanf(etag, "\"%llx-%llx-%llx-", &device, &inode, &size) != 3) return false;
    *out = size;
    return true;
}

/* Streams that have nothing to do get the next parts. False: the op may have ended. */
static bool spread(struct fetch *f) {
    uint64_t part = files_part(f->size);
    for (size_t i = 0; i < FILES_STREAMS && f->next < f->size; i++) {
        struct fetch_range *r = &f->ranges[i];
        if (r->busy) continue; /* perhaps only until the end of its answer */
        r->busy = true;
        r->at = f->next;
        r->end = f->size - f->next < part ? f->size : f->next + part;
        r->fruitless = 0;
        f->next = r->end;
        f->busy++;
        if (!ask(r)) return false;
    }
    return true;
}

static bool too_large(struct fetch *f, uint64_t size) {
    op_failf(f->op, SBX_ERROR_TOO_LARGE, "%s: %llu bytes, over the limit of %llu: %s", f->op->name,
             (unsigned long long)size, (unsigned long long)f->max, f->too_large);
    return false;
}

static bool other_size(struct fetch *f) {
    op_failf(f->op, SBX_ERROR_PROTOCOL, "%s: the peer sends another size than it has told", f->op->name);
    return false;
}

/* The first answer of a file that is far away tells how much there is. */
static bool size_up(struct fetch *f, uint64_t file) {
    uint64_t size = file > f->offset ? file - f->offset : 0;
    if (f->length > 0 && f->length < size) size = f->length;
    if (size > f->max) return too_large(f, size);
    if (f->expect != NULL && !f->expect(f, size)) return false;
    f->size = size;
    struct fetch_range *first = &f->ranges[0];
    if (first->end > size) first->end = size;
    f->next = first->end;
    return spread(f);
}

static bool on_head(void *ctx, const struct transfer_head *head) {
    struct fetch_range *r = ctx;
    struct fetch *f = r->fetch;
    bool first = !f->began;
    uint64_t file;
    f->began = true;
    if (first) memcpy(f->etag, head->etag, sizeof f->etag);
    if (!f->one_stream) {
        if (!first) return true;
        if (size_of(f->etag, &file)) return size_up(f, file);
        return true; /* a file that never says its size, and is short: see complete */
    }
    if (head->length < 0) return true;
    uint64_t total = r->at + (uint64_t)head->length;
    if (total > f->max) return too_large(f, total);
    if (!first && f->size > 0 && total != f->size) return other_size(f);
    f->size = f->next = total;
    return f->expect == NULL || f->expect(f, total);
}

static enum transfer_flow on_data(void *ctx, const char *data, size_t len) {
    struct fetch_range *r = ctx;
    struct fetch *f = r->fetch;
    if (len > r->end - r->at) {
        op_failf(f->op, SBX_ERROR_PROTOCOL, "%s: the peer sends more than was asked for", f->op->name);
        return TRANSFER_STOP;
    }
    if (len > f->max - r->at) {
        op_failf(f->op, SBX_ERROR_TOO_LARGE, "%s: more than %llu bytes: %s", f->op->name,
                 (unsigned long long)f->max, f->too_large);
        return TRANSFER_STOP;
    }
    if (!f->take(f, data, len, r->at)) return TRANSFER_STOP;
    r->at += len;
    return TRANSFER_TAKEN;
}

static void range_complete(struct fetch_range *r) {
    struct fetch *f = r->fetch;
    uint64_t at = r->at;
    bool short_of = at < r->end;
    r->at = r->end;
    r->busy = false;
    f->busy--;
    if (!f->one_stream && f->size == 0 && !short_of && r->end == FIRST) {
        f->one_stream = true;
        if (f->restart(f)) begin(f);
    } else if (f->size > 0 && (f->one_stream ? at != f->size : short_of)) {
        other_size(f);
    } else if (spread(f) && f->busy == 0) {
        f->done(f);
    }
}

static void complete(struct op *op, struct request_reply *reply, void *ctx) {
    (void)op;
    (void)reply;
    range_complete(ctx);
}

/* ---- What is asked for. False: the op may have ended. */

static bool ask(struct fetch_range *r) {
    struct fetch *f = r->fetch;
    char match[160];
    r->at_before = r->at;
    if (r->at == r->end && f->began) {
        range_complete(r); /* only the end of the answer was lost */
        return false;
    }
    struct buf target = files_target("read", f->path);
    if (f->offset + r->at > 0) request_query_u64(&target, "offset", f->offset + r->at);
    if (r->end != UINT64_MAX) request_query_u64(&target, "length", r->end - r->at);
    struct request_spec spec = {.method = "GET",
                                .log_route = "files/read",
                                .what = "reading a file",
                                .target = target.data,
                                .repeatable = true,
                                .silence_ms = f->silence_ms,
                                .on_head = on_head,
                                .on_data = on_data,
                                .ctx = r,
                                .done = complete,
                                .on_error = failed};
    if (f->began && f->etag[0] != '\0') {
        snprintf(match, sizeof match, "If-Match: %s", f->etag);
        spec.headers[0] = match;
    }
    bool ok = !target.failed;
    if (!ok) op_fail_memory(f->op);
    if (ok) ok = request_start(f->op, &spec) != NULL;
    buf_free(&target);
    return ok;
}

static void begin(struct fetch *f) {
    uint64_t end = f->length > 0 ? f->length : UINT64_MAX;
    bool far = f->op->sandbox->endpoint.trouble != NULL && tells_changes(f) && !testing_off("far-streams");
    if (!far) f->one_stream = true;
    if (!f->one_stream && end > FIRST) end = FIRST;
    memset(f->ranges, 0, sizeof f->ranges);
    for (size_t i = 0; i < FILES_STREAMS; i++)
        f->ranges[i].fetch = f;
    f->ranges[0].end = end;
    f->ranges[0].busy = true;
    f->next = f->size = 0;
    f->began = false;
    f->etag[0] = '\0';
    f->busy = 1;
    ask(&f->ranges[0]);
}

void fetch_start(struct fetch *f) {
    begin(f);
}
