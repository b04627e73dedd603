#include "client/output_stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/frame_reader.h"
#include "client/ndjson_reader.h"
#include "client/request.h"
#include "client/sandbox.h"
#include "util/clock.h"
#include "wire/limits.h"
#include "wire/names.h"

#define ERROR_BODY_MAX KIB(64)

enum form { FORM_UNKNOWN, FORM_FRAMES, FORM_NDJSON, FORM_ERROR };

struct stream {
    struct sbx_sandbox *sandbox; /* kept alive */
    struct stream_sink sink;
    void *ctx;
    const char *what;
    char *body; /* of the exec request; NULL once it is started, or when following */
    size_t body_len;
    bool wait_closed;
    char key[64];
    char id[32];
    int64_t pid;
    bool started;    /* the command is known to run: no request may start it again */
    bool from_known; /* offsets are given, not "the oldest held" */
    uint64_t offset[2];
    bool begun[2]; /* offset[i] is where we are */
    struct transfer *transfer;
    enum form form;
    int status;
    struct frame_reader frames;
    struct ndjson_reader ndjson;
    struct buf error_body;
    struct io_timer timer;
    unsigned sent, attempts; /* attempts since the last byte */
    int64_t lost_ms;         /* when it was first lost since the last byte; 0 = it is not */
    bool ended;              /* the sink has got its last call */
    bool busy, closed;       /* inside a callback of the sink: freeing waits */
    sbx_error error;
};

static bool connect_it(struct stream *s);

static bool has(const struct stream *s, unsigned feature) {
    return (s->sandbox->endpoint.features & feature) == feature;
}

static void stream_free(struct stream *s) {
    if (s->transfer != NULL && s->ended) {
        transfer_abandon(s->transfer, s->body);
        s->body = NULL;
    } else if (s->transfer != NULL) {
        transfer_cancel(s->transfer);
    }
    io_timer_clear(&s->sandbox->client->io, &s->timer);
    frame_reader_free(&s->frames);
    ndjson_reader_free(&s->ndjson);
    buf_free(&s->error_body);
    free(s->body);
    sandbox_release(s->sandbox);
    free(s);
}

void stream_close(struct stream *s) {
    if (s->busy) {
        s->closed = true;
    } else {
        stream_free(s);
    }
}

/* Around every callback of the sink. False: the stream is gone. */
static bool after_callback(struct stream *s) {
    s->busy = false;
    if (!s->closed) return true;
    stream_free(s);
    return false;
}

static void fail(struct stream *s, const sbx_error *error) {
    s->ended = true;
    s->busy = true;
    sbx_error copy = *error;
    s->sink.on_fail(s->ctx, &copy);
    after_callback(s);
}

/* ---- Events */

/* Our own agent resumes exactly; this guards against one that does not. */
static bool place_output(struct stream *s, struct stream_event *event) {
    uint64_t *at = &s->offset[event->stream];
    if (!s->begun[event->stream]) {
        s->begun[event->stream] = true;
        *at = event->offset;
    }
    if (event->kind == STREAM_GAP) {
        if (event->offset + event->dropped <= *at) return false;
        if (event->offset < *at) {
            event->dropped -= *at - event->offset;
            event->offset = *at;
        }
        *at = event->offset + event->dropped;
        return true;
    }
    if (event->offset + event->len <= *at) return false;
    if (event->offset < *at) {
        uint64_t known = *at - event->offset;
        event->data += known;
        event->len -= known;
        event->offset = *at;
    }
    *at = event->offset + event->len;
    return true;
}

static void note_start(struct stream *s, const struct stream_event *event) {
    bool first = !s->started;
    s->started = true;
    s->from_known = true;
    s->begun[0] = s->begun[1] = true;
    if (!first) return;
    s->pid = event->pid;
    if (event->id[0] != '\0') {
        snprintf(s->id, sizeof s->id, "%s", event->id);
    } else {
        snprintf(s->id, sizeof s->id, "%lld", (long long)event->pid);
    }
    s->sink.on_start(s->ctx, s->id, event->pid);
}

/* False: the stream is gone. */
static bool take_event(struct stream *s, struct stream_event *event) {
    s->busy = true;
    bool news = true; /* a peer that only repeats itself is as good as silent */
    switch (event->kind) {
    case STREAM_START:
        news = !s->started;
        note_start(s, event);
        break;
    case STREAM_OUTPUT:
    case STREAM_GAP:
        news = place_output(s, event);
        if (news) s->sink.on_output(s->ctx, event);
        break;
    case STREAM_EXIT:
        s->ended = true;
        s->sink.on_exit(s->ctx, &event->exit);
        break;
    case STREAM_PING:
    case STREAM_HELD:
        break;
    }
    if (news) {
        s->lost_ms = 0;
        s->attempts = 0;
    }
    return after_callback(s);
}

/* ---- One connection */

static bool on_head(void *ctx, const struct transfer_head *head) {
    struct stream *s = ctx;
    s->status = head->status;
    size_t frames = strlen(FRAME_TYPE);
    if (head->status < 200 || head->status > 299) {
        s->form = FORM_ERROR;
    } else if (strncmp(head->content_type, FRAME_TYPE, frames) == 0) {
        s->form = FORM_FRAMES;
    } else if (strncmp(head->content_type, "application/x-ndjson", 20) == 0) {
        s->form = FORM_NDJSON;
    } else {
        error_set(&s->error, SBX_ERROR_PROTOCOL,
                  "%s: the peer answered with '%s' instead of a stream of output", s->what,
                  head->content_type);
        return false;
    }
    return true;
}

static enum transfer_flow on_data(void *ctx, const char *data, size_t len) {
    struct stream *s = ctx;
    if (s->form == FORM_ERROR) {
        buf_append(&s->error_body, data, len); /* the beginning will do */
        return TRANSFER_TAKEN;
    }
    if (s->ended) return TRANSFER_TAKEN;
    if (s->sink.is_full != NULL && s->sink.is_full(s->ctx)) return TRANSFER_PAUSE;
    while (len > 0) {
        struct stream_event event = {.bad = NULL};
        enum stream_read read = s->form == FORM_FRAMES ? frame_reader_next(&s->frames, &data, &len, &event)
                                                       : ndjson_reader_next(&s->ndjson, &data, &len, &event);
        if (read == STREAM_MORE) break;
        if (read == STREAM_BAD) {
            error_set(&s->error, SBX_ERROR_PROTOCOL, "%s: %s", s->what,
                      event.bad != NULL ? event.bad : "the peer's stream of output makes no sense");
            return TRANSFER_STOP;
        }
        if (!take_event(s, &event) || s->ended) break;
    }
    return TRANSFER_TAKEN;
}

static void try_again(void *ctx) {
    struct stream *s = ctx;
    if (!connect_it(s)) fail(s, &s->error);
}

static void blame(struct stream *s, const sbx_error *cause) {
    bool unsure = !s->started && s->sent > 0;
    error_set(&s->error, unsure ? SBX_ERROR_UNKNOWN_OUTCOME : cause->code, "%s: %s%s", s->what,
              cause->message,
              unsure       ? "; the command may or may not have been started"
              : s->started ? "; the command may still run"
                           : "");
    s->error.system_errno = cause->system_errno;
    s->error.http_status = cause->http_status;
}

static void pronounce(void *ctx) {
    struct stream *s = ctx;
    const sbx_error *why = endpoint_why(&s->sandbox->endpoint, s->lost_ms);
    if (why != NULL) blame(s, why);
    fail(s, &s->error);
}

static void later(struct stream *s, void (*what)(void *), int64_t ms) {
    s->timer.fire = what;
    if (io_timer_set(&s->sandbox->client->io, &s->timer, clock_ms() + ms)) return;
    error_memory(&s->error);
    fail(s, &s->error);
}

/* A command that may or may not have been started may only be asked for again where keys make that the same
 * command. */
static bool may_go_on(const struct stream *s, enum transfer_outcome outcome) {
    if (s->started) return has(s, ENDPOINT_PROCESS | ENDPOINT_FRAMES);
    return outcome == TRANSFER_NOT_SENT || has(s, ENDPOINT_KEYS);
}

static void after_loss(struct stream *s, const struct transfer_end *end) {
    bool hopeless = end->error.code == SBX_ERROR_INVALID || end->error.code == SBX_ERROR_MEMORY;
    /* Before anything was ever heard of the command, a peer that cannot be reached is soon given up; a
       running command is worth waiting for as long as silence is. */
    bool patient = s->started || s->sent > 0;
    if (s->lost_ms == 0) s->lost_ms = clock_ms();
    bool time_left = patient ? clock_ms() - s->lost_ms < request_silence_ms() : s->attempts < 5;
    bool known = endpoint_why(&s->sandbox->endpoint, s->lost_ms) != NULL;
    if (!hopeless && time_left && !known && may_go_on(s, end->outcome)) {
        later(s, try_again, request_backoff_ms(s->attempts));
        return;
    }
    blame(s, &end->error);
    /* A lost connection is often followed by the news that the agent has ended, which says more. */
    later(s, pronounce, known ? 0 : request_verdict_ms(s->sandbox));
}

static void after_refusal(struct stream *s) {
    if (s->status == 410 && !s->started && s->key[0] != '\0') {
        if (s->sent == 1) {
            client_key(s->sandbox->client, s->key);
            s->sent = 0;
            try_again(s);
            return;
        }
        error_set(&s->error, SBX_ERROR_UNKNOWN_OUTCOME,
                  "%s: the reply was lost, and the peer has forgotten the command since", s->what);
    } else if (s->status >= 300 && s->status < 400) {
        error_set(&s->error, SBX_ERROR_PROTOCOL,
                  "%s: the peer answered with a redirect (%d), which is never followed", s->what, s->status);
    } else {
        error_from_reply(&s->error, s->what, s->status, s->error_body.data, s->error_body.len);
    }
    s->error.http_status = s->status;
    if (sandbox_in_doubt(s->sandbox, s->status)) {
        later(s, pronounce, request_verdict_ms(s->sandbox));
    } else {
        fail(s, &s->error);
    }
}

static void on_end(void *ctx, const struct transfer_end *end) {
    struct stream *s = ctx;
    s->transfer = NULL;
    if (s->ended) return;
    if (end->outcome != TRANSFER_NOT_SENT && !s->started) s->sent++;
    if (s->error.code != SBX_OK) {
        /* on_head or on_data stopped it. */
        fail(s, &s->error);
    } else if (s->form == FORM_ERROR && end->outcome == TRANSFER_OK) {
        after_refusal(s);
    } else if (end->outcome == TRANSFER_OK) {
        struct transfer_end early = {.outcome = TRANSFER_LOST, .head = end->head};
        error_set(&early.error, SBX_ERROR_CONNECTION, "the output ended before the command did");
        after_loss(s, &early);
    } else {
        after_loss(s, end);
    }
}

static bool put_target(const struct stream *s, struct buf *target) {
    if (!s->started) return buf_puts(target, "exec");
    buf_puts(target, "processes/");
    request_path_part(target, s->id);
    buf_puts(target, "/output");
    request_query(target, "follow", "1");
    if (s->wait_closed) request_query(target, "end", "closed");
    if (s->from_known || s->begun[0]) request_query_u64(target, "stdout", s->offset[0]);
    return s->from_known || s->begun[1] ? request_query_u64(target, "stderr", s->offset[1]) : !target->failed;
}

/* Asks for the output, from where it is; false: s->error says why not. */
static bool connect_it(struct stream *s) {
    struct buf target = BUF_INIT(1024);
    char key[96];
    bool keyed = !s->started && s->key[0] != '\0';
    frame_reader_free(&s->frames);
    frame_reader_init(&s->frames);
    buf_clear(&s->error_body);
    s->form = FORM_UNKNOWN;
    s->attempts++;
    if (!put_target(s, &target)) {
        buf_free(&target);
        error_memory(&s->error);
        return false;
    }
    struct transfer_spec t = {
        .endpoint = &s->sandbox->endpoint,
        .method = s->started ? "GET" : "POST",
        .log_route = s->started ? "processes/:id/output" : "exec",
        .accept = has(s, ENDPOINT_FRAMES) ? FRAME_TYPE : NULL,
        .content_type = "application/json",
        .target = target.data,
        .body = s->started ? NULL : s->body,
        .body_len = s->started ? 0 : s->body_len,
        .fresh = !s->started && !keyed,
        .once = !s->started,
        /* A living peer answers at once to what asks for a lost stream again. */
        .silence_ms = s->lost_ms == 0 ? request_silence_ms() : request_silence_ms() / 3,
        .on_head = on_head,
        .on_data = on_data,
        .on_end = on_end,
        .ctx = s,
    };
    if (keyed) {
        snprintf(key, sizeof key, HEADER_KEY ": %s", s->key);
        t.headers[0] = key;
    }
    s->transfer = transfer_start(s->sandbox->client, &t, &s->error);
    buf_free(&target);
    return s->transfer != NULL;
}

/* ---- The owner's side */

static struct stream *stream_new(struct sbx_sandbox *sandbox, bool wait_closed, const char *what,
                                 const struct stream_sink *sink, void *ctx) {
    struct stream *s = calloc(1, sizeof *s);
    if (s == NULL) return NULL;
    sandbox_hold(sandbox);
    s->sandbox = sandbox;
    s->sink = *sink;
    s->ctx = ctx;
    s->what = what;
    s->wait_closed = wait_closed;
    s->timer.ctx = s;
    frame_reader_init(&s->frames);
    ndjson_reader_init(&s->ndjson);
    buf_init(&s->error_body, ERROR_BODY_MAX);
    return s;
}

static struct stream *begin(struct stream *s, sbx_error *err) {
    if (connect_it(s)) return s;
    error_copy(err, &s->error);
    stream_free(s);
    return NULL;
}

struct stream *stream_exec(struct sbx_sandbox *sandbox, char *body, size_t body_len, bool wait_closed,
                           const char *what, const struct stream_sink *sink, void *ctx, sbx_error *err) {
    struct stream *s = stream_new(sandbox, wait_closed, what, sink, ctx);
    if (s == NULL) {
        free(body);
        error_memory(err);
        return NULL;
    }
    s->body = body;
    s->body_len = body_len;
    if (has(s, ENDPOINT_KEYS)) client_key(sandbox->client, s->key);
    return begin(s, err);
}

struct stream *stream_follow(struct sbx_sandbox *sandbox, const char *id, const uint64_t from[2],
                             bool wait_closed, const char *what, const struct stream_sink *sink, void *ctx,
                             sbx_error *err) {
    struct stream *s = stream_new(sandbox, wait_closed, what, sink, ctx);
    if (s == NULL) {
        error_memory(err);
        return NULL;
    }
    snprintf(s->id, sizeof s->id, "%s", id);
    s->started = true;
    if (from != NULL) {
        s->from_known = s->begun[0] = s->begun[1] = true;
        memcpy(s->offset, from, sizeof s->offset);
    }
    return begin(s, err);
}

void stream_resume(struct stream *s) {
    if (s->transfer != NULL) transfer_resume(s->transfer);
}

void stream_redirect(struct stream *s, const struct stream_sink *sink, void *ctx) {
    s->sink = *sink;
    s->ctx = ctx;
}

const char *stream_id(const struct stream *s) {
    return s->id;
}

int64_t stream_pid(const struct stream *s) {
    return s->pid;
}
