#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/job_host.h"
#include "client/json.h"
#include "client/parting.h"
#include "client/request.h"
#include "client/transfer.h"
#include "util/clock.h"
#include "util/testing.h"
#include "wire/limits.h"
#include "wire/names.h"

#define ACTIVE_MAX   64 /* at one agent: each may need a connection of its own */
#define ATTEMPTS_MAX 10
#define REPLY_MAX    MIB(16)

struct host_call {
    struct host_call *next, *prev; /* of the host */
    struct host *host;             /* held */
    struct host_call_spec spec;
    char *target, *body;
    char key[96]; /* the header's line; "" = none */
    struct transfer *transfer;
    struct io_timer timer, limit;
    bool waits; /* for its turn */
    bool apart, seen;
    unsigned attempts;
    int64_t lost_ms; /* when an attempt was first lost; 0 = none was */
    struct buf reply;
    struct host_reply verdict;
};

static void send_it(struct host_call *call);

static void next_turn(struct host *host) {
    struct host_call *call = host->calls, *oldest = NULL;
    for (; call != NULL; call = call->next) {
        if (call->waits) oldest = call; /* new ones are put in front */
    }
    if (oldest != NULL && host->active < ACTIVE_MAX) send_it(oldest);
}

static void stop(struct host_call *call) {
    if (call->transfer == NULL) return;
    transfer_cancel(call->transfer);
    call->transfer = NULL;
    call->host->active--;
}

/* The host and its client stay for what comes after. */
static void release(struct host_call *call) {
    struct host *host = call->host;
    struct io *io = &host->client->io;
    stop(call);
    if (call->prev != NULL) {
        call->prev->next = call->next;
    } else {
        host->calls = call->next;
    }
    if (call->next != NULL) call->next->prev = call->prev;
    io_timer_clear(io, &call->timer);
    io_timer_clear(io, &call->limit);
    if (call->apart) parting_end(host->client, PARTING_JOB);
    buf_free(&call->reply);
    free(call->target);
    if (call->body != NULL) explicit_bzero(call->body, call->spec.body_len); /* values of env */
    free(call->body);
    explicit_bzero(call->key, sizeof call->key);
    free(call);
}

static void after(struct host *host) {
    struct sbx_client *client = host->client;
    if (!host_dead(host)) next_turn(host);
    if (host->calls == NULL && host->quiet != NULL) host->quiet(host->ctx);
    host_release(host);
    client_release_locked(client);
}

void host_call_cancel(struct host_call *call) {
    if (call == NULL) return;
    struct host *host = call->host;
    client_hold(host->client);
    release(call);
    after(host);
}

static void finish(struct host_call *call, struct host_reply *reply) {
    struct host *host = call->host;
    struct buf body = call->reply;
    void (*done)(void *, const struct host_reply *) = call->spec.done;
    void *ctx = call->spec.ctx;
    client_hold(host->client);
    buf_init(&call->reply, 0);
    if (body.data == NULL) buf_puts(&body, "");
    reply->body = &body;
    endpoint_redact(&host->agent->endpoint, reply->error.message);
    release(call);
    done(ctx, reply);
    buf_free(&body);
    after(host);
}

static void pronounce(void *ctx) {
    struct host_call *call = ctx;
    struct host_reply verdict = call->verdict;
    finish(call, &verdict);
}

static void try_again(void *ctx) {
    send_it(ctx);
}

static void later(struct host_call *call, void (*what)(void *), int64_t ms) {
    call->timer.fire = what;
    if (io_timer_set(&call->host->client->io, &call->timer, clock_ms() + ms)) return;
    call->verdict.status = error_memory(&call->verdict.error);
    pronounce(call);
}

static bool safe_to_repeat(const struct host_call *call) {
    return call->spec.repeatable || call->key[0] != '\0';
}

/* The news that the machine has ended says more than a lost connection. */
static void lost(struct host_call *call, const struct transfer_end *end) {
    if (end->outcome != TRANSFER_NOT_SENT) call->seen = true;
    if (call->lost_ms == 0) call->lost_ms = clock_ms();
    bool hopeless =
        end->untrusted || end->error.code == SBX_ERROR_INVALID || end->error.code == SBX_ERROR_MEMORY;
    bool repeat = !hopeless && (!call->seen || safe_to_repeat(call));
    int64_t pause = request_backoff_ms(call->attempts), now = clock_ms();
    /* What nobody waits for has time. */
    if (call->apart) pause *= 2;
    if (!call->apart && (call->attempts >= ATTEMPTS_MAX || now - call->lost_ms >= request_silence_ms()))
        repeat = false;
    if (now + pause >= call->spec.deadline) repeat = false;
    if (repeat) {
        later(call, try_again, pause);
        return;
    }
    bool unsure = call->seen && !call->spec.repeatable;
    call->verdict = (struct host_reply){.unsure = unsure, .unsent = !call->seen};
    call->verdict.status = unsure ? SBX_ERROR_UNKNOWN_OUTCOME : end->error.code;
    error_set(&call->verdict.error, call->verdict.status, "%s: %s%s", call->spec.what, end->error.message,
              unsure ? "; it may or may not have happened" : "");
    call->verdict.error.http_status = end->error.http_status;
    later(call, pronounce, request_verdict_ms(call->host->agent));
}

static void refused(struct host_call *call, int status) {
    struct host_reply reply = {.http_status = status};
    if (status >= 300 && status < 400) {
        error_set(&reply.error, SBX_ERROR_PROTOCOL,
                  "%s: the peer answered with a redirect (%d), which is never followed", call->spec.what,
                  status);
    } else {
        error_from_reply(&reply.error, call->spec.what, status, call->reply.data, call->reply.len);
    }
    reply.error.http_status = status;
    reply.status = reply.error.code;
    finish(call, &reply);
}

/* A body that ends with its connection is whole only when it is JSON to its end. */
static bool cut_off(const struct host_call *call, const struct transfer_head *head) {
    if (head->chunked || head->length >= 0 || head->status == 204) return false;
    struct json *value = json_parse(call->reply.data != NULL ? call->reply.data : "", call->reply.len);
    json_free(value);
    return value == NULL;
}

static void on_end(void *ctx, const struct transfer_end *end) {
    struct host_call *call = ctx;
    call->transfer = NULL;
    call->host->active--;
    int status = end->head->status;
    bool good = (status >= 200 && status < 300) || (status != 0 && status == call->spec.accepts);
    if (end->outcome != TRANSFER_OK) {
        lost(call, end);
    } else if (!good) {
        refused(call, status);
    } else if (call->reply.failed) {
        struct host_reply reply = {.status = SBX_ERROR_TOO_LARGE, .unsure = true};
        error_set(&reply.error, reply.status, "%s: the answer is over %zu bytes", call->spec.what,
                  call->reply.max);
        finish(call, &reply);
    } else if (cut_off(call, end->head)) {
        struct transfer_end early = {.outcome = TRANSFER_LOST, .head = end->head};
        error_set(&early.error, SBX_ERROR_CONNECTION, "the reply was cut off");
        lost(call, &early);
    } else {
        finish(call, &(struct host_reply){.status = SBX_OK, .http_status = status});
    }
}

static enum transfer_flow on_data(void *ctx, const char *data, size_t len) {
    struct host_call *call = ctx;
    buf_append(&call->reply, data, len);
    return TRANSFER_TAKEN;
}

static void send_it(struct host_call *call) {
    struct host *host = call->host;
    bool reads = strcmp(call->spec.method, "GET") == 0;
    call->waits = host->active >= ACTIVE_MAX;
    if (call->waits) return;
    struct transfer_spec t = {.endpoint = &host->agent->endpoint,
                              .method = call->spec.method,
                              .log_route = call->spec.log_route,
                              .content_type = call->body != NULL ? "application/json" : NULL,
                              .target = call->target,
                              .headers = {call->key[0] != '\0' ? call->key : NULL},
                              .body = call->body,
                              .body_len = call->spec.body_len,
                              .fresh = !reads && !safe_to_repeat(call),
                              .once = call->key[0] != '\0',
                              .silence_ms = request_silence_ms(),
                              .on_data = on_data,
                              .on_end = on_end,
                              .ctx = call};
    /* A living agent answers soon when it is asked again. */
    if (call->lost_ms != 0) t.silence_ms /= 3;
    sbx_error error;
    call->attempts++;
    buf_clear(&call->reply);
    call->transfer = transfer_start(host->client, &t, &error);
    if (call->transfer != NULL) {
        host->active++;
        return;
    }
    call->verdict = (struct host_reply){.status = error.code, .unsure = call->seen, .error = error};
    call->timer.fire = pronounce;
    if (!io_timer_set(&host->client->io, &call->timer, clock_ms())) call->waits = true;
}

/* Whoever waits has a deadline of his own; this ends what goes on without him. */
static void time_up(void *ctx) {
    struct host_call *call = ctx;
    bool seen = call->seen || call->transfer != NULL;
    struct host_reply reply = {
        .status = SBX_ERROR_TIMEOUT, .unsure = seen && !call->spec.repeatable, .unsent = !seen};
    error_set(&reply.error, SBX_ERROR_TIMEOUT, "%s: the agent did not answer in time", call->spec.what);
    finish(call, &reply);
}

struct host_call *host_call(struct host *host, const struct host_call_spec *spec) {
    struct host_call *call = host_dead(host) ? NULL : calloc(1, sizeof *call);
    if (call == NULL) return NULL;
    call->spec = *spec;
    call->timer.ctx = call;
    call->limit = (struct io_timer){.fire = time_up, .ctx = call};
    buf_init(&call->reply, REPLY_MAX);
    call->target = strdup(spec->target);
    if (spec->body != NULL) call->body = malloc(spec->body_len + 1);
    bool ok =
        call->target != NULL && (spec->body == NULL || call->body != NULL) &&
        (spec->deadline == CLOCK_NEVER || io_timer_set(&host->client->io, &call->limit, spec->deadline));
    if (!ok) {
        io_timer_clear(&host->client->io, &call->limit);
        free(call->target);
        free(call->body);
        free(call);
        return NULL;
    }
    if (spec->body != NULL) memcpy(call->body, spec->body, spec->body_len);
    if (spec->key != NULL && spec->key[0] != '\0')
        snprintf(call->key, sizeof call->key, HEADER_KEY ": %s", spec->key);
    call->host = host;
    host_hold(host);
    call->next = host->calls;
    if (call->next != NULL) call->next->prev = call;
    host->calls = call;
    send_it(call);
    return call;
}

bool host_call_apart(struct host_call *call) {
    if (!call->apart) call->apart = parting_begin(call->host->client, PARTING_JOB);
    return call->apart;
}

void host_call_fail_all(struct host *host, const sbx_error *death) {
    while (host->calls != NULL) {
        struct host_reply reply = {.status = SBX_ERROR_AGENT, .dead = true, .error = *death};
        host->calls->waits = false;
        finish(host->calls, &reply);
    }
}
