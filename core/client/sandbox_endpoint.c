#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/json.h"
#include "client/op.h"
#include "client/request.h"
#include "client/sandbox.h"
#include "util/clock.h"
#include "wire/names.h"

/* A handle to an agent at an address: it is asked what it can do before the caller gets the handle. */

static void connect_ended(struct op *op, sbx_status status) {
    if (status != SBX_OK) sandbox_release(op->ctx);
}

static void give(struct op *op) {
    op->out.sandbox = op->ctx;
    op_done(op, SBX_OK);
}

static void accepted(struct op *op, struct request_reply *reply, void *ctx) {
    (void)reply;
    (void)ctx;
    give(op);
}

static unsigned feature_named(const char *name, size_t len) {
    static const struct {
        const char *name;
        unsigned feature;
    } known[] = {{FEATURE_KEYS, ENDPOINT_KEYS},
                 {FEATURE_FRAMES, ENDPOINT_FRAMES},
                 {FEATURE_PROCESS, ENDPOINT_PROCESS},
                 {FEATURE_FILES, ENDPOINT_FILES},
                 {FEATURE_PARTS, ENDPOINT_PARTS}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strlen(known[i].name) == len && strncmp(known[i].name, name, len) == 0) return known[i].feature;
    }
    return 0;
}

unsigned sandbox_endpoint_features(const struct json *health) {
    unsigned features = 0;
    const struct json *list = json_get(health, "features");
    for (const struct json *item = json_first(list); item != NULL; item = json_next(item)) {
        const char *name = json_text(item);
        if (name != NULL) features |= feature_named(name, strlen(name));
    }
    return features;
}

static void healthy(struct op *op, struct request_reply *reply, void *ctx) {
    (void)ctx;
    struct sbx_sandbox *sandbox = op->sandbox;
    struct json *health = json_parse(reply->body->data, reply->body->len);
    const char *state = json_string(health, "status");
    bool ok = state != NULL && strcmp(state, "ok") == 0;
    sandbox->endpoint.features = sandbox_endpoint_features(health);
    json_free(health);
    if (!ok) {
        op_failf(op, SBX_ERROR_PROTOCOL, "%s: what answers at %s is no sandbox agent", op->name,
                 endpoint_where(&sandbox->endpoint));
    } else if (sandbox->endpoint.features != 0) {
        give(op); /* told only to who has the token */
    } else {
        /* Either the token is wrong, or this is the Hub's own server: a route that needs the token tells. */
        request_start(op, &(struct request_spec){.method = "GET",
                                                 .log_route = "processes",
                                                 .what = "checking the token",
                                                 .target = "processes",
                                                 .repeatable = true,
                                                 .max_reply = (size_t)256 * 1024 * 1024,
                                                 .done = accepted});
    }
}

void sandbox_endpoint_probe(struct op *op, struct sbx_sandbox *sandbox) {
    if (op->sandbox == NULL) {
        sandbox_hold(sandbox);
        op->sandbox = sandbox;
        op_list_add(&sandbox->ops, op, offsetof(struct op, in_sandbox));
        op->listed = true;
    }
    op->ctx = sandbox;
    op->end = connect_ended;
    request_start(op, &(struct request_spec){.method = "GET",
                                             .log_route = "/health",
                                             .what = "asking the agent what it can do",
                                             .target = "/health",
                                             .repeatable = true,
                                             .done = healthy});
}

/* ---- The end */

#define LOOK_MS 10 /* between two looks whether it has ended */

struct ending {
    struct op *op;
    struct transfer *look;
    struct io_timer timer;
};

static void ending_ended(struct op *op, sbx_status status) {
    struct ending *e = op->ctx;
    (void)status;
    if (e->look != NULL) transfer_cancel(e->look);
    io_timer_clear(&op->client->io, &e->timer);
    free(e);
}

static void look_later(struct ending *e) {
    if (!io_timer_set(&e->op->client->io, &e->timer, clock_ms() + LOOK_MS)) op_fail_memory(e->op);
}

/* A connection that breaks may be one that the agent closes as it ends, so only one that cannot be made
   tells; or what a proxy says of an agent that it cannot reach. */
static void looked(void *ctx, const struct transfer_end *end) {
    struct ending *e = ctx;
    struct op *op = e->op;
    e->look = NULL;
    bool answers = end->outcome == TRANSFER_OK && end->head->status < 500;
    if (answers || (end->outcome != TRANSFER_NOT_SENT && end->outcome != TRANSFER_OK)) {
        look_later(e);
        return;
    }
    sandbox_died(op->sandbox, "sandbox %s was ended by sbx_sandbox_kill", op->sandbox->id);
    op_done(op, SBX_OK);
}

static void look(void *ctx) {
    struct ending *e = ctx;
    sbx_error error;
    e->look = transfer_start(e->op->client,
                             &(struct transfer_spec){.endpoint = &e->op->sandbox->endpoint,
                                                     .method = "GET",
                                                     .log_route = "health",
                                                     .target = "/health",
                                                     .fresh = true,
                                                     .silence_ms = request_silence_ms(),
                                                     .on_end = looked,
                                                     .ctx = e},
                             &error);
    if (e->look == NULL) op_fail(e->op, &error);
}

static void asked_to_end(struct op *op, struct request_reply *reply, void *ctx) {
    (void)op;
    (void)reply;
    look(ctx);
}

void sandbox_endpoint_end(struct op *op) {
    struct ending *e = calloc(1, sizeof *e);
    if (e == NULL) {
        op_fail_memory(op);
        return;
    }
    e->op = op;
    e->timer = (struct io_timer){.fire = look, .ctx = e};
    op->ctx = e;
    op->end = ending_ended;
    request_start(op, &(struct request_spec){.method = "POST",
                                             .log_route = "shutdown",
                                             .what = "asking the agent to end",
                                             .target = "shutdown",
                                             .needs = ENDPOINT_PROCESS,
                                             .repeatable = true,
                                             .done = asked_to_end,
                                             .ctx = e});
}

/* ---- Addresses */

static sbx_status make_endpoint(struct endpoint *out, const char *address, const char *token,
                                sbx_error *err) {
    const char *name = "sbx_sandbox_connect_endpoint";
    if (strncmp(address, "unix:", 5) == 0) {
        const char *path = address + 5;
        if (path[0] != '/' || strlen(path) > 107) {
            return error_set(
                err, SBX_ERROR_INVALID,
                "%s: endpoint is '%.120s': behind unix: give an absolute path of at most 107 bytes", name,
                address);
        }
        return endpoint_make(out, ENDPOINT_UNIX, NULL, path, -1, token, 0, err);
    }
    bool http = strncmp(address, "http://", 7) == 0 && address[7] != '\0';
    bool https = strncmp(address, "https://", 8) == 0 && address[8] != '\0';
    const char *odd = strpbrk(address, "?#@ \t\r\n");
    if ((http || https) && odd != NULL) {
        /* Not all of it: a password or a token may stand there. */
        return error_set(
            err, SBX_ERROR_INVALID,
            "%s: endpoint has a '%c' in it: give http://HOST:PORT, https://HOST or unix:/PATH, and a "
            "token by the parameter",
            name, *odd == '\t' || *odd == '\r' || *odd == '\n' ? ' ' : *odd);
    }
    if (!http && !https) {
        return error_set(err, SBX_ERROR_INVALID,
                         "%s: endpoint is '%.40s': give http://HOST:PORT, https://HOST or unix:/PATH", name,
                         address);
    }
    return endpoint_make(out, ENDPOINT_URL, address, NULL, -1, token, 0, err);
}

sbx_status sbx_sandbox_connect_endpoint(sbx_sandbox **out, sbx_client *client, const char *endpoint,
                                        const char *token, const sbx_call *call, sbx_error *err) {
    const char *name = "sbx_sandbox_connect_endpoint";
    if (out != NULL) *out = NULL;
    sbx_status status = client_check(client, name, err);
    if (status != SBX_OK) return status;
    if (endpoint == NULL) return error_set(err, SBX_ERROR_INVALID, "%s: endpoint is NULL", name);
    status = op_check_out(out, call, name, err);
    if (status != SBX_OK) return status;
    struct endpoint made;
    status = make_endpoint(&made, endpoint, token, err);
    if (status != SBX_OK) return status;
    client_lock(client);
    if (strncmp(endpoint, "https:", 6) == 0) status = client_find_ca(client, err);
    if (status != SBX_OK) {
        client_unlock(client);
        endpoint_free(&made);
        return status;
    }
    struct sbx_sandbox *sandbox = sandbox_new(client, NULL, NULL, endpoint, &made);
    if (sandbox != NULL) sandbox->detached = true;
    client_unlock(client);
    if (sandbox == NULL) return error_memory(err);
    struct op *op;
    status = op_begin(&op, client, sandbox, name, call, 60000, err);
    if (status != SBX_OK) {
        sbx_sandbox_free(sandbox);
        return status;
    }
    sandbox_endpoint_probe(op, sandbox);
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status == SBX_OK) *out = done.sandbox;
    return status;
}
