#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/json.h"
#include "client/op.h"
#include "client/request.h"
#include "client/sandbox.h"
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
                 {FEATURE_FILES, ENDPOINT_FILES}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strlen(known[i].name) == len && strncmp(known[i].name, name, len) == 0) return known[i].feature;
    }
    return 0;
}

static unsigned features_of(const struct json *health) {
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
    sandbox->endpoint.features = features_of(health);
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
    if ((!http && !https) || strpbrk(address, "?# \t\r\n@") != NULL) {
        return error_set(err, SBX_ERROR_INVALID,
                         "%s: endpoint is '%.120s': give http://HOST:PORT, https://HOST or unix:/PATH", name,
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
    if (out == NULL && (call == NULL || call->queue == NULL)) {
        return error_set(err, SBX_ERROR_INVALID, "%s: out is NULL", name);
    }
    struct endpoint made;
    status = make_endpoint(&made, endpoint, token, err);
    if (status != SBX_OK) return status;
    client_lock(client);
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
