#include "client/hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/hub_error.h"
#include "client/request.h"
#include "client/settings.h"
#include "client/token.h"
#include "client/transfer.h"
#include "util/clock.h"
#include "util/scope.h"
#include "util/testing.h"
#include "wire/limits.h"

#define ACTIVE_MAX    16
#define ATTEMPTS_MAX  6
#define UNREACHED_MAX 4 /* where nobody answers at all */
#define FIRST_PAUSE   250
#define LONGEST_PAUSE 8000
#define REPLY_MAX     MIB(8)

struct hub_call {
    struct hub *hub;
    struct hub_call *next;
    struct hub_call_spec spec;
    char *target, *body;
    struct transfer *transfer;
    struct io_timer timer;
    bool queued;
    unsigned attempts;
    int64_t asked_ms; /* the pause that the last answer asks for; -1 = none */
    bool sent, streams, stopped, too_large;
    struct hub_hints hints;
    struct buf reply;
};

sbx_status hub_init(struct hub *hub, struct sbx_client *client, const char *endpoint, const char *token,
                    sbx_error *err) {
    char *url = NULL;
    hub->client = client;
    hub->offline = settings_offline();
    hub->endpoint.control_fd = -1;
    sbx_status status = settings_endpoint(&url, endpoint, err);
    if (status == SBX_OK) status = token_find(&hub->token, &hub->token_source, token, err);
    if (status == SBX_OK) status = endpoint_make(&hub->endpoint, ENDPOINT_URL, url, NULL, -1, NULL, 0, err);
    if (status == SBX_OK) status = endpoint_set_bearer(&hub->endpoint, hub->token, err);
    free(url);
    if (status != SBX_OK) hub_free(hub);
    hub->random = (uint64_t)clock_us() ^ (uint64_t)(uintptr_t)hub;
    return status;
}

void hub_free(struct hub *hub) {
    endpoint_free(&hub->endpoint);
    if (hub->token != NULL) explicit_bzero(hub->token, strlen(hub->token));
    free(hub->token);
    hub->token = NULL;
}

int64_t hub_jitter(struct hub *hub, int64_t ms) {
    hub->random = hub->random * 6364136223846793005u + 1442695040888963407u;
    int64_t part = (int64_t)(hub->random >> 40) % 1000;
    return ms / 2 + ms / 2 * part / 1000;
}

/* ---- Turns */

static void send_it(struct hub_call *call);

static void enqueue(struct hub_call *call) {
    struct hub *hub = call->hub;
    call->queued = true;
    call->next = NULL;
    if (hub->last != NULL) {
        hub->last->next = call;
    } else {
        hub->first = call;
    }
    hub->last = call;
}

static void dequeue(struct hub_call *call) {
    struct hub *hub = call->hub;
    struct hub_call **at = &hub->first, *before = NULL;
    for (; *at != call; at = &(*at)->next)
        before = *at;
    *at = call->next;
    if (hub->last == call) hub->last = before;
    call->queued = false;
}

static void next_turn(struct hub *hub) {
    while (hub->active < ACTIVE_MAX && hub->first != NULL) {
        struct hub_call *call = hub->first;
        dequeue(call);
        send_it(call);
    }
}

/* ---- Ends */

static void release(struct hub_call *call) {
    struct hub *hub = call->hub;
    if (call->queued) dequeue(call);
    if (call->transfer != NULL) {
        transfer_cancel(call->transfer);
        if (!call->spec.urgent) hub->active--;
    }
    io_timer_clear(&hub->client->io, &call->timer);
    buf_free(&call->reply);
    free(call->target);
    if (call->body != NULL) explicit_bzero(call->body, call->spec.body_len); /* of secrets */
    free(call->body);
    free(call);
}

void hub_call_cancel(struct hub_call *call) {
    if (call == NULL) return;
    struct hub *hub = call->hub;
    release(call);
    next_turn(hub);
}

void hub_call_take(struct hub_call *call, void (*done)(void *, const struct hub_reply *), void *ctx) {
    call->spec.done = done;
    call->spec.ctx = ctx;
    call->spec.deadline = 0;
    call->spec.secrets = NULL; /* the one before may be gone */
}

bool hub_call_sent(const struct hub_call *call) {
    return call->sent || call->transfer != NULL;
}

static void finish(struct hub_call *call, struct hub_reply *reply) {
    struct hub *hub = call->hub;
    struct buf body = call->reply;
    buf_init(&call->reply, 0);
    if (body.data == NULL) buf_puts(&body, "");
    char *next = steal_pointer(&call->hints.next);
    reply->body = &body;
    reply->date_ms = call->hints.date_ms;
    reply->next = next;
    void (*done)(void *, const struct hub_reply *) = call->spec.done;
    void *ctx = call->spec.ctx;
    release(call);
    done(ctx, reply);
    next_turn(hub);
    buf_free(&body);
    free(next);
}

static void fail(struct hub_call *call, const sbx_error *error, int http_status) {
    struct hub_reply reply = {.http_status = http_status, .error = *error, .status = error->code};
    reply.asked_ms = call->asked_ms;
    reply.unsure = call->sent && !call->spec.repeatable;
    finish(call, &reply);
}

static void too_late(void *ctx) {
    struct hub_call *call = ctx;
    sbx_error error;
    error_memory(&error);
    fail(call, &error, 0);
}

static void take_turn(struct hub_call *call) {
    if (call->spec.urgent) {
        send_it(call);
    } else {
        enqueue(call);
        next_turn(call->hub);
    }
}

static void send_again(void *ctx) {
    take_turn(ctx);
}

/* False: there is no time or no attempt left. */
static bool later(struct hub_call *call, int64_t asked_ms) {
    int64_t pause = FIRST_PAUSE;
    for (unsigned i = 1; i < call->attempts && pause < LONGEST_PAUSE; i++)
        pause *= 2;
    pause = hub_jitter(call->hub, pause);
    if (asked_ms > pause) pause = asked_ms + hub_jitter(call->hub, 200);
    int64_t when = clock_ms() + pause;
    if (call->attempts >= ATTEMPTS_MAX || when >= call->spec.deadline || testing_off("hub-retry"))
        return false;
    call->timer.fire = send_again;
    return io_timer_set(&call->hub->client->io, &call->timer, when);
}

/* No answer came. */
static void lost(struct hub_call *call, const struct transfer_end *end) {
    bool seen = end->outcome != TRANSFER_NOT_SENT;
    if (seen) call->sent = true;
    bool hopeless =
        end->untrusted || end->error.code == SBX_ERROR_INVALID || end->error.code == SBX_ERROR_MEMORY;
    bool nobody = !seen && call->attempts >= UNREACHED_MAX;
    if (!hopeless && !nobody && (!seen || call->spec.repeatable) && later(call, 0)) return;
    sbx_error error;
    hub_error_lost(&error, call->spec.name, call->spec.what, &end->error);
    fail(call, &error, 0);
}

/* As the Hub's own client waits: the time until the limit is lifted, with a second to spare, goes before
 * Retry-After. */
static int64_t asked_pause(int status, const struct hub_hints *hints) {
    if (testing_off("asked-pause")) return -1;
    if (status == 429 && hints->reset_ms >= 0) return hints->reset_ms + 1000;
    return status == 429 && hints->retry_ms >= 0 ? hints->retry_ms + 1000 : hints->retry_ms;
}

/* An answer that is an error. */
static void refused(struct hub_call *call, int status) {
    int64_t asked = asked_pause(status, &call->hints);
    bool no_act = status == 429;
    bool passing =
        no_act || status == 408 || status == 500 || status == 502 || status == 503 || status == 504;
    /* Any other fault of the server, or of what is before it, may come after the act, too. */
    if (!no_act && (passing || status >= 500)) call->sent = true;
    if (passing && (no_act || call->spec.repeatable) && later(call, asked)) return;
    sbx_error error;
    const char *const token[] = {call->hub->token, NULL};
    hub_error_reply(&error, call->spec.name, call->spec.what, status, &call->hints, call->reply.data,
                    call->reply.len, call->spec.secrets != NULL ? call->spec.secrets : token);
    call->asked_ms = asked;
    fail(call, &error, status);
}

static void on_end(void *ctx, const struct transfer_end *end) {
    struct hub_call *call = ctx;
    call->transfer = NULL;
    if (!call->spec.urgent) call->hub->active--;
    int status = end->head->status;
    bool good = (status >= 200 && status < 300) || (status != 0 && status == call->spec.accepts);
    if (end->outcome == TRANSFER_STOPPED && call->stopped) {
        finish(call, &(struct hub_reply){.status = SBX_OK, .http_status = status});
    } else if (call->too_large) {
        sbx_error error;
        error_set(&error, SBX_ERROR_TOO_LARGE, "%s: the Hub's answer is over %zu bytes", call->spec.what,
                  call->reply.max);
        call->sent = true;
        fail(call, &error, status);
    } else if (end->outcome != TRANSFER_OK) {
        lost(call, end);
    } else if (good) {
        finish(call, &(struct hub_reply){.status = SBX_OK, .http_status = status});
    } else {
        refused(call, status);
    }
}

/* ---- An attempt */

static void on_header(void *ctx, const char *name, size_t name_len, const char *value, size_t len) {
    struct hub_call *call = ctx;
    hub_hints_take(&call->hints, call->hub->endpoint.url, name, name_len, value, len);
}

static bool on_head(void *ctx, const struct transfer_head *head) {
    struct hub_call *call = ctx;
    call->streams = call->spec.on_data != NULL && head->status < 300; /* an error's text is kept */
    return true;
}

static enum transfer_flow on_data(void *ctx, const char *data, size_t len) {
    struct hub_call *call = ctx;
    if (call->streams) {
        call->stopped = !call->spec.on_data(call->spec.ctx, data, len);
        return call->stopped ? TRANSFER_STOP : TRANSFER_TAKEN;
    }
    if (buf_append(&call->reply, data, len)) return TRANSFER_TAKEN;
    call->too_large = true;
    return TRANSFER_STOP;
}

static void send_it(struct hub_call *call) {
    struct hub *hub = call->hub;
    bool reads = strcmp(call->spec.method, "GET") == 0;
    struct transfer_spec t = {.endpoint = &hub->endpoint,
                              .method = call->spec.method,
                              .event = "hub.request",
                              .log_route = call->spec.log_route,
                              .accept = call->spec.on_data != NULL ? "text/event-stream" : "application/json",
                              .content_type = call->body != NULL ? "application/json" : NULL,
                              .target = call->target,
                              .body = call->body,
                              .body_len = call->spec.body_len,
                              .fresh = !reads && !call->spec.repeatable,
                              .silence_ms = request_silence_ms(),
                              .on_header = on_header,
                              .on_head = on_head,
                              .on_data = on_data,
                              .on_end = on_end,
                              .ctx = call};
    sbx_error error;
    call->attempts++;
    call->asked_ms = -1;
    hub_hints_clear(&call->hints);
    buf_clear(&call->reply);
    call->transfer = transfer_start(hub->client, &t, &error);
    if (call->transfer != NULL) {
        if (!call->spec.urgent) hub->active++;
        return;
    }
    call->timer.fire = too_late;
    io_timer_set(&hub->client->io, &call->timer, clock_ms());
}

struct hub_call *hub_call(struct hub *hub, const struct hub_call_spec *spec, sbx_error *err) {
    if (hub->offline) {
        error_set(err, SBX_ERROR_CONNECTION,
                  "%s: offline mode is on (HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE): unset it to use the Hub",
                  spec->what);
        return NULL;
    }
    struct hub_call *call = calloc(1, sizeof *call);
    if (call == NULL) {
        error_memory(err);
        return NULL;
    }
    call->hub = hub;
    call->spec = *spec;
    call->spec.target = NULL;
    call->spec.body = NULL;
    call->timer.ctx = call;
    hub_hints_clear(&call->hints);
    buf_init(&call->reply, spec->max_reply != 0 ? spec->max_reply : REPLY_MAX);
    call->target = strdup(spec->target);
    if (spec->body != NULL) call->body = malloc(spec->body_len + 1);
    if (call->target == NULL || (spec->body != NULL && call->body == NULL)) {
        release(call);
        error_memory(err);
        return NULL;
    }
    if (spec->body != NULL) memcpy(call->body, spec->body, spec->body_len);
    take_turn(call); /* its callbacks come later */
    return call;
}
