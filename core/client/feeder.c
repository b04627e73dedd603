#include "client/feeder.h"

#include <stdio.h>
#include <stdlib.h>

#include "client/client.h"
#include "client/request.h"
#include "client/sandbox.h"
#include "util/clock.h"
#include "wire/limits.h"

#define ATTEMPTS 8

struct feeder {
    struct sbx_sandbox *sandbox; /* held */
    char target[96];
    const void *data;
    size_t len;
    void (*on_end)(void *ctx, const sbx_error *error);
    void *ctx;
    struct transfer *transfer;
    struct io_timer timer;
    unsigned attempts;
    struct buf reply;
};

void feeder_stop(struct feeder *f) {
    if (f->transfer != NULL) transfer_cancel(f->transfer);
    io_timer_clear(&f->sandbox->client->io, &f->timer);
    buf_free(&f->reply);
    sandbox_release(f->sandbox);
    free(f);
}

static void end(struct feeder *f, const sbx_error *error) {
    void (*on_end)(void *, const sbx_error *) = f->on_end;
    void *ctx = f->ctx;
    feeder_stop(f);
    on_end(ctx, error);
}

static enum transfer_flow on_data(void *ctx, const char *data, size_t len) {
    struct feeder *f = ctx;
    buf_append(&f->reply, data, len); /* the beginning of an error text will do */
    return TRANSFER_TAKEN;
}

static void send_it(void *ctx);

static void on_transfer_end(void *ctx, const struct transfer_end *result) {
    struct feeder *f = ctx;
    sbx_error error;
    f->transfer = NULL;
    if (result->outcome == TRANSFER_OK && result->head->status < 300) {
        end(f, NULL);
    } else if (result->outcome == TRANSFER_OK) {
        error_from_reply(&error, "feeding the command's input", result->head->status, f->reply.data,
                         f->reply.len);
        end(f, &error);
    } else if (f->attempts < ATTEMPTS) {
        f->timer.fire = send_it;
        if (io_timer_set(&f->sandbox->client->io, &f->timer, clock_ms() + request_backoff_ms(f->attempts)))
            return;
        error_memory(&error);
        end(f, &error);
    } else {
        error_set(&error, result->error.code, "feeding the command's input: %s", result->error.message);
        end(f, &error);
    }
}

/* Bytes that the agent has taken already are skipped there, so repeating feeds nothing twice. */
static void send_it(void *ctx) {
    struct feeder *f = ctx;
    struct transfer_spec t = {.endpoint = &f->sandbox->endpoint,
                              .method = "PUT",
                              .log_route = "processes/:id/stdin",
                              .content_type = "application/octet-stream",
                              .target = f->target,
                              .body = f->data != NULL ? f->data : "",
                              .body_len = f->len,
                              .on_data = on_data,
                              .on_end = on_transfer_end,
                              .ctx = f};
    sbx_error error;
    f->attempts++;
    buf_clear(&f->reply);
    f->transfer = transfer_start(f->sandbox->client, &t, &error);
    if (f->transfer == NULL) end(f, &error);
}

struct feeder *feeder_start(struct sbx_sandbox *sandbox, const char *id, const void *data, size_t len,
                            bool eof, void (*on_end)(void *ctx, const sbx_error *error), void *ctx) {
    struct feeder *f = calloc(1, sizeof *f);
    if (f == NULL) return NULL;
    f->sandbox = sandbox;
    sandbox_hold(sandbox);
    buf_init(&f->reply, KIB(16));
    snprintf(f->target, sizeof f->target, "processes/%s/stdin?offset=0%s", id, eof ? "&eof=1" : "");
    f->data = data;
    f->len = len;
    f->on_end = on_end;
    f->ctx = ctx;
    f->timer = (struct io_timer){.fire = send_it, .ctx = f};
    /* From the driver, so that no callback comes before this returns. */
    if (io_timer_set(&sandbox->client->io, &f->timer, clock_ms())) return f;
    feeder_stop(f);
    return NULL;
}
