#include "client/farewell.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/json.h"
#include "client/log.h"
#include "client/request.h"
#include "client/sandbox.h"
#include "client/output_stream.h"
#include "client/parting.h"
#include "util/buf.h"
#include "util/clock.h"
#include "wire/limits.h"
#include "wire/names.h"

#define DEADLINE_MS 10000
#define ATTEMPTS    5

struct farewell {
    struct sbx_sandbox *sandbox; /* held */
    struct stream *stream;       /* until the id is known */
    char id[32];
    int64_t pid;
    struct transfer *transfer;
    struct io_timer timer, deadline;
    unsigned attempts;
    char body[128]; /* of a kill by command */
    char key[96];   /* header of the start to be asked for again; "" = the id is known */
    char *part;     /* the target that names an unfinished file; NULL = this is about a command */
    struct buf start, reply;
};

static void end(struct farewell *f) {
    struct sbx_client *client = f->sandbox->client;
    if (f->stream != NULL) stream_close(f->stream);
    if (f->transfer != NULL) transfer_cancel(f->transfer);
    io_timer_clear(&client->io, &f->timer);
    io_timer_clear(&client->io, &f->deadline);
    buf_free(&f->start);
    buf_free(&f->reply);
    free(f->part);
    client_hold(client);
    sandbox_release(f->sandbox);
    parting_end(client, PARTING_KILL);
    free(f);
    client_release_locked(client);
}

static void give_up(void *ctx) {
    struct farewell *f = ctx;
    if (f->part == NULL)
        log_event(f->sandbox->client, SBX_LOG_WARNING, "process.kill_unconfirmed", "sandbox", f->sandbox->id,
                  NULL);
    end(f);
}

static struct farewell *begin(struct sbx_sandbox *sandbox) {
    struct io *io = &sandbox->client->io;
    struct farewell *f = calloc(1, sizeof *f);
    if (f == NULL) return NULL;
    f->deadline = (struct io_timer){.fire = give_up, .ctx = f};
    f->timer.ctx = f;
    f->sandbox = sandbox;
    if (!parting_begin(sandbox->client, PARTING_KILL)) {
        free(f);
        return NULL;
    }
    sandbox_hold(sandbox);
    if (io_timer_set(io, &f->deadline, clock_ms() + DEADLINE_MS)) return f;
    end(f);
    return NULL;
}

static void send_kill(void *ctx);
static void send_start(void *ctx);
static void send_part(void *ctx);

/* From the reply to the start. */
static bool learn_id(struct farewell *f) {
    struct json *value = json_parse(f->reply.data, f->reply.len);
    const char *id = json_string(value, "id");
    if (id != NULL) snprintf(f->id, sizeof f->id, "%s", id);
    json_free(value);
    f->key[0] = '\0';
    f->attempts = 0;
    return f->id[0] != '\0';
}

static void on_end(void *ctx, const struct transfer_end *result) {
    struct farewell *f = ctx;
    f->transfer = NULL;
    if (f->key[0] != '\0' && result->outcome == TRANSFER_OK && result->head->status < 300) {
        if (learn_id(f)) {
            send_kill(f);
        } else {
            end(f);
        }
        return;
    }
    if (result->outcome == TRANSFER_OK || f->sandbox->dead || f->attempts >= ATTEMPTS) {
        end(f);
        return;
    }
    f->timer.fire = f->part != NULL ? send_part : f->key[0] != '\0' ? send_start : send_kill;
    if (!io_timer_set(&f->sandbox->client->io, &f->timer, clock_ms() + request_backoff_ms(f->attempts)))
        end(f);
}

static void send_kill(void *ctx) {
    struct farewell *f = ctx;
    char target[96];
    struct transfer_spec t = {.endpoint = &f->sandbox->endpoint,
                              .method = "DELETE",
                              .log_route = "processes/:id",
                              .target = target,
                              .silence_ms = DEADLINE_MS,
                              .on_end = on_end,
                              .ctx = f};
    snprintf(target, sizeof target, "processes/%s", f->id);
    if (!(f->sandbox->endpoint.features & ENDPOINT_PROCESS)) {
        /* The Hub's own server does not list foreground commands. Each leads a process group. Written as
           every shell takes it: dash knows no "--" after -KILL. */
        if (f->pid <= 1) {
            end(f);
            return;
        }
        snprintf(f->body, sizeof f->body, "{\"cmd\":[\"/bin/sh\",\"-c\",\"kill -KILL -%lld\"]}",
                 (long long)f->pid);
        t.method = "POST";
        t.log_route = "exec";
        t.target = "exec";
        t.content_type = "application/json";
        t.body = f->body;
        t.body_len = strlen(f->body);
        t.fresh = true;
    }
    f->attempts++;
    f->transfer = transfer_start(f->sandbox->client, &t, NULL);
    if (f->transfer == NULL) end(f);
}

static enum transfer_flow on_data(void *ctx, const char *data, size_t len) {
    struct farewell *f = ctx;
    buf_append(&f->reply, data, len); /* what does not fit is no answer to this */
    return TRANSFER_TAKEN;
}

static void send_start(void *ctx) {
    struct farewell *f = ctx;
    struct transfer_spec t = {.endpoint = &f->sandbox->endpoint,
                              .method = "POST",
                              .log_route = "processes",
                              .target = "processes",
                              .content_type = "application/json",
                              .headers = {f->key},
                              .body = f->start.data,
                              .body_len = f->start.len,
                              .silence_ms = DEADLINE_MS,
                              .on_data = on_data,
                              .on_end = on_end,
                              .ctx = f};
    f->attempts++;
    buf_clear(&f->reply);
    f->transfer = transfer_start(f->sandbox->client, &t, NULL);
    if (f->transfer == NULL) end(f);
}

void farewell_start(struct sbx_sandbox *sandbox, const char *key, struct buf *body) {
    if (sandbox->dead || key[0] == '\0') return;
    struct farewell *f = begin(sandbox);
    if (f == NULL) return;
    snprintf(f->key, sizeof f->key, HEADER_KEY ": %s", key);
    f->start = *body;
    buf_init(body, body->max);
    buf_init(&f->reply, KIB(16));
    send_start(f);
}

/* A condition that never holds makes the agent throw away what was to be put in place. */
static void send_part(void *ctx) {
    struct farewell *f = ctx;
    struct transfer_spec t = {.endpoint = &f->sandbox->endpoint,
                              .method = "PUT",
                              .log_route = "files/write",
                              .target = f->part,
                              .headers = {"If-Match: \"-\""},
                              .body = "",
                              .silence_ms = DEADLINE_MS,
                              .on_end = on_end,
                              .ctx = f};
    f->attempts++;
    f->transfer = transfer_start(f->sandbox->client, &t, NULL);
    if (f->transfer == NULL) end(f);
}

void farewell_part(struct sbx_sandbox *sandbox, const char *target) {
    struct farewell *f = sandbox->dead ? NULL : begin(sandbox);
    if (f == NULL) return;
    f->part = strdup(target);
    if (f->part == NULL) {
        end(f);
        return;
    }
    send_part(f);
}

void farewell_kill(struct sbx_sandbox *sandbox, const char *id, int64_t pid) {
    if (sandbox->dead) return;
    struct farewell *f = begin(sandbox);
    if (f == NULL) return;
    snprintf(f->id, sizeof f->id, "%s", id);
    f->pid = pid;
    send_kill(f);
}

static void on_start(void *ctx, const char *id, int64_t pid) {
    struct farewell *f = ctx;
    snprintf(f->id, sizeof f->id, "%s", id);
    f->pid = pid;
    stream_close(f->stream);
    f->stream = NULL;
    f->timer.fire = send_kill;
    if (!io_timer_set(&f->sandbox->client->io, &f->timer, clock_ms())) end(f);
}

static void on_output(void *ctx, const struct stream_event *event) {
    (void)ctx;
    (void)event;
}

static void on_exit_event(void *ctx, const struct stream_exit *exit) {
    (void)exit;
    end(ctx);
}

static void on_fail(void *ctx, const sbx_error *error) {
    (void)error;
    end(ctx);
}

void farewell_stream(struct sbx_sandbox *sandbox, struct stream *stream) {
    static const struct stream_sink sink = {
        .on_start = on_start, .on_output = on_output, .on_exit = on_exit_event, .on_fail = on_fail};
    if (stream_id(stream)[0] != '\0') {
        farewell_kill(sandbox, stream_id(stream), stream_pid(stream));
        stream_close(stream);
        return;
    }
    struct farewell *f = sandbox->dead ? NULL : begin(sandbox);
    if (f == NULL) {
        stream_close(stream);
        return;
    }
    f->stream = stream;
    stream_redirect(stream, &sink, f);
    stream_resume(stream);
}
