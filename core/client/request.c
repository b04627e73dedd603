#include "client/request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/json.h"
#include "client/sandbox.h"
#include "util/clock.h"
#include "util/testing.h"
#include "wire/limits.h"
#include "wire/names.h"

#define REPLY_MAX      MIB(1)
#define ERROR_BODY_MAX KIB(64)
#define ATTEMPTS_MAX   5
#define ATTEMPTS_FAR   10   /* where a proxy is in between */
#define VERDICT_MS     100  /* a lost connection is often followed by the news that the agent has ended */
#define VERDICT_FAR_MS 2000 /* where the Hub has to be asked for it */

struct request {
    struct op *op;
    struct request *next, *prev; /* of the op */
    struct request_spec spec;
    char *target;
    char *headers[4];
    struct transfer *transfer;
    struct transfer *probe; /* beside a transfer that may take as long as it likes: does the peer live? */
    struct io_timer timer;  /* the next attempt, the verdict, or the next probe */
    int64_t lost_ms;        /* when an attempt was first lost; 0 = none was */
    unsigned sent;          /* attempts that the peer may have seen */
    unsigned attempts;
    bool streamed; /* bytes of the answer or of the request's body have passed: no repetition */
    bool good;     /* the status is one that the caller wants */
    bool too_large;
    struct buf body;
    sbx_error error; /* the verdict */
};

int64_t request_silence_ms(void) {
    return testing_ms(3 * INTERVAL_PING);
}

int64_t request_backoff_ms(unsigned attempt) {
    int64_t ms = 25;
    for (; attempt > 1 && ms < 1000; attempt--)
        ms *= 2;
    return ms < 1000 ? ms : 1000;
}

int64_t request_verdict_ms(const struct sbx_sandbox *sandbox) {
    if (sandbox->endpoint.trouble != NULL) return VERDICT_FAR_MS;
    return sandbox->provider != NULL ? VERDICT_MS : 0;
}

static struct request *send_it(struct request *r); /* NULL: it failed and is gone */

static void request_free(struct request *r) {
    struct op *op = r->op;
    if (r->prev != NULL) {
        r->prev->next = r->next;
    } else {
        op->requests = r->next;
    }
    if (r->next != NULL) r->next->prev = r->prev;
    if (r->transfer != NULL) transfer_cancel(r->transfer);
    if (r->probe != NULL) transfer_cancel(r->probe);
    io_timer_clear(&op->client->io, &r->timer);
    buf_free(&r->body);
    for (size_t i = 0; i < 4; i++)
        free(r->headers[i]);
    free(r->target);
    free(r);
}

void request_cancel(struct request *r) {
    request_free(r);
}

void request_stop_all(struct op *op) {
    while (op->requests != NULL)
        request_free(op->requests);
}

void request_resume(struct request *r) {
    if (r->transfer != NULL) transfer_resume(r->transfer);
}

static void fail(struct request *r, const sbx_error *error) {
    struct op *op = r->op;
    sbx_error copy = *error;
    void (*on_error)(struct op *, const sbx_error *, void *) = r->spec.on_error;
    void *ctx = r->spec.ctx;
    request_free(r);
    if (on_error != NULL) {
        on_error(op, &copy, ctx);
    } else {
        op_fail(op, &copy);
    }
}

/* ---- What to do after an attempt */

static bool safe_to_repeat(const struct request *r) {
    if (r->streamed) return false;
    if (r->spec.key != NULL) return r->spec.key[0] != '\0';
    return r->spec.repeatable;
}

static bool only_reads(const struct request *r) {
    return strcmp(r->spec.method, "GET") == 0 || strcmp(r->spec.method, "HEAD") == 0;
}

static void blame(struct request *r, const sbx_error *cause, sbx_status code, const char *text) {
    bool unsure = r->sent > 0 && !only_reads(r) && !r->spec.repeatable;
    error_set(&r->error, unsure ? SBX_ERROR_UNKNOWN_OUTCOME : code, "%s: %s: %s%s", r->op->name, r->spec.what,
              text, unsure ? "; it may or may not have happened" : "");
    r->error.system_errno = cause->system_errno;
    r->error.http_status = cause->http_status;
}

static void pronounce(void *ctx) {
    struct request *r = ctx;
    const sbx_error *why = endpoint_why(&r->op->sandbox->endpoint, r->lost_ms);
    if (why != NULL) blame(r, why, why->code, why->message);
    fail(r, &r->error);
}

static void try_again(void *ctx) {
    send_it(ctx);
}

static void later(struct request *r, void (*what)(void *), int64_t ms) {
    struct io *io = &r->op->client->io;
    r->timer.fire = what;
    r->timer.ctx = r;
    if (!io_timer_set(io, &r->timer, clock_ms() + ms)) {
        error_memory(&r->error);
        fail(r, &r->error);
    }
}

/* An agent that a provider keeps takes connections until it ends; when its keeper has ended too, sandbox_died
 * says so. */
static bool is_ending(const struct request *r, const struct transfer_end *end) {
    int error = end->error.system_errno;
    return end->outcome == TRANSFER_NOT_SENT && r->op->sandbox->provider != NULL &&
           r->op->sandbox->endpoint.kind == ENDPOINT_UNIX && (error == ECONNREFUSED || error == ENOENT);
}

static void after_loss(struct request *r, const struct transfer_end *end) {
    bool seen = end->outcome != TRANSFER_NOT_SENT;
    bool hopeless =
        end->untrusted || end->error.code == SBX_ERROR_INVALID || end->error.code == SBX_ERROR_MEMORY;
    bool repeat = !hopeless && (seen ? safe_to_repeat(r) : !r->streamed);
    if (r->lost_ms == 0) r->lost_ms = clock_ms();
    if (clock_ms() - r->lost_ms >= request_silence_ms()) repeat = false;
    const struct sbx_sandbox *sandbox = r->op->sandbox;
    bool known = endpoint_why(&sandbox->endpoint, r->lost_ms) != NULL;
    bool far = sandbox->endpoint.trouble != NULL;
    if (repeat && !known && r->attempts < (far ? ATTEMPTS_FAR : ATTEMPTS_MAX)) {
        int64_t pause = request_backoff_ms(r->attempts);
        int64_t asked = end->head != NULL && !testing_off("asked-pause") ? end->head->retry_ms : -1;
        if (asked <= request_silence_ms()) {
            later(r, try_again, asked > pause ? asked : pause);
            return;
        }
    }
    char ending[96];
    if (is_ending(r, end)) {
        snprintf(ending, sizeof ending, "sandbox %.40s is ending or has ended: make a new one", sandbox->id);
        blame(r, &end->error, SBX_ERROR_AGENT, ending);
    } else {
        blame(r, &end->error, end->error.code, end->error.message);
    }
    later(r, pronounce, known ? 0 : request_verdict_ms(sandbox));
}

static void after_refusal(struct request *r, const struct transfer_head *head) {
    if (head->status == 410 && r->spec.key != NULL && r->spec.key[0] != '\0') {
        if (r->sent == 1) {
            /* The peer has never run it and never will under this key. */
            client_key(r->op->client, r->spec.key);
            r->sent = 0;
            send_it(r);
            return;
        }
        error_set(&r->error, SBX_ERROR_UNKNOWN_OUTCOME,
                  "%s: %s: the reply was lost, and the peer has forgotten the command since", r->op->name,
                  r->spec.what);
    } else if (head->status >= 300 && head->status < 400) {
        error_set(&r->error, SBX_ERROR_PROTOCOL,
                  "%s: %s: the peer answered with a redirect (%d), which is never followed: give the address "
                  "that it leads to",
                  r->op->name, r->spec.what, head->status);
    } else {
        char what[160];
        snprintf(what, sizeof what, "%s: %s", r->op->name, r->spec.what);
        error_from_reply(&r->error, what, head->status, r->body.data, r->body.len);
    }
    r->error.http_status = head->status;
    if (sandbox_in_doubt(r->op->sandbox, head->status)) {
        later(r, pronounce, request_verdict_ms(r->op->sandbox));
    } else {
        fail(r, &r->error);
    }
}

/* A body that ends with its connection is taken for whole only when it is. */
static bool cut_off(const struct request *r, const struct transfer_head *head) {
    if (head->chunked || head->length >= 0 || r->spec.on_data != NULL || head->status == 204) return false;
    struct json *value = json_parse(r->body.data != NULL ? r->body.data : "", r->body.len);
    json_free(value);
    return value == NULL;
}

static void probed(void *ctx, const struct transfer_end *end);

static void probe(void *ctx) {
    struct request *r = ctx;
    struct transfer_spec t = {.endpoint = &r->op->sandbox->endpoint,
                              .method = "GET",
                              .log_route = "health",
                              .target = "/health",
                              .silence_ms = request_silence_ms() / 3,
                              .on_end = probed,
                              .ctx = r};
    r->probe = transfer_start(r->op->client, &t, &r->error);
    if (r->probe == NULL) fail(r, &r->error);
}

static void probed(void *ctx, const struct transfer_end *end) {
    struct request *r = ctx;
    r->probe = NULL;
    if (end->outcome == TRANSFER_OK) {
        later(r, probe, request_silence_ms());
        return;
    }
    struct transfer_end lost = {.outcome = TRANSFER_SILENT, .error = end->error};
    transfer_cancel(r->transfer);
    r->transfer = NULL;
    r->sent++;
    after_loss(r, &lost);
}

static void on_end(void *ctx, const struct transfer_end *end) {
    struct request *r = ctx;
    r->transfer = NULL;
    io_timer_clear(&r->op->client->io, &r->timer);
    if (r->probe != NULL) transfer_cancel(r->probe);
    r->probe = NULL;
    if (end->outcome != TRANSFER_NOT_SENT) r->sent++;
    if (r->too_large) {
        error_set(&r->error, SBX_ERROR_TOO_LARGE, "%s: %s: the answer is over %zu bytes", r->op->name,
                  r->spec.what, r->body.max);
        fail(r, &r->error);
    } else if (end->outcome == TRANSFER_STOPPED) {
        error_set(&r->error, SBX_ERROR_CANCELED, "%s: %s: stopped", r->op->name, r->spec.what);
        fail(r, &r->error);
    } else if (end->outcome != TRANSFER_OK) {
        after_loss(r, end);
    } else if (!r->good) {
        after_refusal(r, end->head);
    } else if (cut_off(r, end->head)) {
        struct transfer_end early = {.outcome = TRANSFER_LOST, .head = end->head};
        error_set(&early.error, SBX_ERROR_CONNECTION, "the reply was cut off");
        after_loss(r, &early);
    } else {
        struct op *op = r->op;
        void (*done)(struct op *, struct request_reply *, void *) = r->spec.done;
        void *done_ctx = r->spec.ctx;
        struct buf body = r->body;
        if (body.data == NULL) buf_puts(&body, "");
        buf_init(&r->body, 0);
        struct transfer_head head = *end->head;
        request_free(r);
        struct request_reply reply = {.head = &head, .body = &body};
        done(op, &reply, done_ctx);
        buf_free(&body);
    }
}

/* ---- During an attempt */

static bool on_head(void *ctx, const struct transfer_head *head) {
    struct request *r = ctx;
    bool success = head->status >= 200 && head->status < 300;
    r->good = success || (r->spec.accepts != 0 && head->status == r->spec.accepts);
    if (!r->good) {
        buf_free(&r->body);
        buf_init(&r->body, ERROR_BODY_MAX);
    }
    return !success || r->spec.on_head == NULL || r->spec.on_head(r->spec.ctx, head);
}

static enum transfer_flow on_data(void *ctx, const char *data, size_t len) {
    struct request *r = ctx;
    if (r->good && r->spec.on_data != NULL) {
        r->streamed = true;
        return r->spec.on_data(r->spec.ctx, data, len);
    }
    if (buf_append(&r->body, data, len)) return TRANSFER_TAKEN;
    if (!r->good) return TRANSFER_TAKEN; /* the beginning of an error text will do */
    r->too_large = true;
    return TRANSFER_STOP;
}

static size_t on_read(void *ctx, char *into, size_t len) {
    struct request *r = ctx;
    r->streamed = true;
    return r->spec.read(r->spec.ctx, into, len);
}

static struct request *send_it(struct request *r) {
    struct sbx_sandbox *sandbox = r->op->sandbox;
    int64_t silence = r->spec.silence_ms == 0 ? request_silence_ms() : r->spec.silence_ms;
    /* A living peer answers soon when it is asked again. */
    if (silence > 0 && r->lost_ms != 0) silence -= request_silence_ms() * 2 / 3;
    char key[96];
    struct transfer_spec t = {
        .endpoint = &sandbox->endpoint,
        .method = r->spec.method,
        .log_route = r->spec.log_route,
        .accept = r->spec.accept,
        .content_type = r->spec.content_type,
        .target = r->target,
        .body = r->spec.body,
        .body_len = r->spec.body_len,
        .read = r->spec.read != NULL ? on_read : NULL,
        .fresh = r->spec.fresh || (!only_reads(r) && !safe_to_repeat(r)),
        .once = r->spec.key != NULL || r->spec.read != NULL,
        .silence_ms = silence < 0 ? 0 : silence,
        .on_head = on_head,
        .on_data = on_data,
        .on_end = on_end,
        .ctx = r,
    };
    size_t count = 0;
    while (count < 3 && r->headers[count] != NULL) {
        t.headers[count] = r->headers[count];
        count++;
    }
    if (r->spec.key != NULL && r->spec.key[0] != '\0') {
        snprintf(key, sizeof key, HEADER_KEY ": %s", r->spec.key);
        t.headers[count] = key;
    }
    r->attempts++;
    r->good = false;
    buf_clear(&r->body);
    r->body.max = r->spec.max_reply != 0 ? r->spec.max_reply : REPLY_MAX;
    r->transfer = transfer_start(r->op->client, &t, &r->error);
    bool ok = r->transfer != NULL;
    if (ok && silence < 0 && !testing_off("probe")) {
        r->timer.fire = probe;
        ok = io_timer_set(&r->op->client->io, &r->timer, clock_ms() + request_silence_ms());
        if (!ok) error_memory(&r->error);
    }
    if (ok) return r;
    fail(r, &r->error);
    return NULL;
}

static const char *missing_feature(unsigned missing) {
    return missing & ENDPOINT_FILES     ? FEATURE_FILES
           : missing & ENDPOINT_PROCESS ? FEATURE_PROCESS
           : missing & ENDPOINT_FRAMES  ? FEATURE_FRAMES
                                        : FEATURE_KEYS;
}

static bool copy_parts(struct request *r, const struct request_spec *spec) {
    r->target = strdup(spec->target);
    if (r->target == NULL) return false;
    for (size_t i = 0; i < 3 && spec->headers[i] != NULL; i++) {
        r->headers[i] = strdup(spec->headers[i]);
        if (r->headers[i] == NULL) return false;
    }
    return true;
}

struct request *request_start(struct op *op, const struct request_spec *spec) {
    unsigned features = op->sandbox->endpoint.features;
    if ((spec->needs & features) != spec->needs) {
        op_failf(op, SBX_ERROR_UNSUPPORTED,
                 "%s: the agent at %s lacks the feature '%s': it is no hfsandbox-agent, or an older one",
                 op->name, endpoint_where(&op->sandbox->endpoint), missing_feature(spec->needs & ~features));
        return NULL;
    }
    struct request *r = calloc(1, sizeof *r);
    if (r == NULL) {
        op_fail_memory(op);
        return NULL;
    }
    r->op = op;
    r->spec = *spec;
    r->spec.target = NULL;
    buf_init(&r->body, REPLY_MAX);
    r->next = op->requests;
    if (r->next != NULL) r->next->prev = r;
    op->requests = r;
    if (!copy_parts(r, spec)) {
        request_free(r);
        op_fail_memory(op);
        return NULL;
    }
    if (spec->key != NULL) {
        spec->key[0] = '\0';
        if (features & ENDPOINT_KEYS) client_key(op->client, spec->key);
    }
    r->timer.ctx = r;
    return send_it(r);
}

/* ---- Targets */

static bool put_percent(struct buf *target, const char *text) {
    for (const char *c = text; *c != '\0'; c++) {
        unsigned char byte = (unsigned char)*c;
        bool plain = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                     (byte >= '0' && byte <= '9') || strchr("-._~", byte) != NULL;
        if (plain) {
            buf_putc(target, *c);
        } else {
            buf_printf(target, "%%%02X", byte);
        }
    }
    return !target->failed;
}

bool request_query(struct buf *target, const char *name, const char *value) {
    bool first = target->data == NULL || strchr(target->data, '?') == NULL;
    buf_printf(target, "%c%s=", first ? '?' : '&', name);
    return put_percent(target, value);
}

bool request_query_u64(struct buf *target, const char *name, uint64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    return request_query(target, name, text);
}

bool request_path_part(struct buf *target, const char *text) {
    return put_percent(target, text);
}
