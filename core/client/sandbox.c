#include "client/sandbox.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/job_request.h"
#include "client/json.h"
#include "client/log.h"
#include "client/process_handle.h"
#include "client/provider.h"
#include "client/request.h"
#include "wire/limits.h"

sbx_status sandbox_check(const struct sbx_sandbox *sandbox, const char *function, sbx_error *err) {
    if (sandbox == NULL) return error_set(err, SBX_ERROR_INVALID, "%s: sandbox is NULL", function);
    return client_check(sandbox->client, function, err);
}

struct sbx_sandbox *sandbox_new(struct sbx_client *client, const struct provider *provider, void *machine,
                                const char *id, struct endpoint *endpoint) {
    struct sbx_sandbox *sandbox = calloc(1, sizeof *sandbox);
    char *name = strdup(id);
    if (sandbox == NULL || name == NULL) {
        free(sandbox);
        free(name);
        endpoint_free(endpoint);
        return NULL;
    }
    sandbox->refs = 1;
    sandbox->client = client;
    sandbox->provider = provider;
    sandbox->machine = machine;
    sandbox->id = name;
    sandbox->endpoint = *endpoint;
    sandbox->timings = (sbx_timings){sizeof sandbox->timings, -1, -1, -1};
    memset(endpoint, 0, sizeof *endpoint);
    endpoint->control_fd = -1;
    sandbox->next = client->sandboxes;
    if (sandbox->next != NULL) sandbox->next->prev = sandbox;
    client->sandboxes = sandbox;
    client_hold(client);
    return sandbox;
}

void sandbox_hold(struct sbx_sandbox *sandbox) {
    sandbox->refs++;
}

void sandbox_release(struct sbx_sandbox *sandbox) {
    if (--sandbox->refs > 0) return;
    struct sbx_client *client = sandbox->client;
    if (sandbox->provider != NULL) sandbox->provider->close(sandbox);
    if (sandbox->prev != NULL) {
        sandbox->prev->next = sandbox->next;
    } else {
        client->sandboxes = sandbox->next;
    }
    if (sandbox->next != NULL) sandbox->next->prev = sandbox->prev;
    transfer_cancel_abandoned(client, &sandbox->endpoint);
    endpoint_free(&sandbox->endpoint);
    free(sandbox->id);
    free(sandbox);
    client_release_locked(client);
}

void sandbox_died(struct sbx_sandbox *sandbox, const char *format, ...) {
    if (sandbox->dead) return;
    char reason[256];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    sandbox->dead = true;
    error_set(&sandbox->death, SBX_ERROR_AGENT, "%s", reason);
    log_event(sandbox->client, SBX_LOG_INFO, "sandbox.ended", "id", sandbox->id, "provider",
              sandbox->provider != NULL ? sandbox->provider->name : "", NULL);
    sandbox_hold(sandbox);
    while (sandbox->ops != NULL)
        op_fail(sandbox->ops, &sandbox->death);
    for (struct sbx_process *process = sandbox->processes, *next; process != NULL; process = next) {
        process_handle_hold(process);
        process_handle_fail(process, &sandbox->death);
        next = process->next;
        process_handle_release(process);
    }
    if (sandbox->on_death != NULL) sandbox->on_death(sandbox->death_ctx);
    sandbox_release(sandbox);
}

bool sandbox_in_doubt(struct sbx_sandbox *sandbox, int http_status) {
    return sandbox->in_doubt != NULL && !sandbox->dead && sandbox->in_doubt(sandbox, http_status);
}

/* ---- Making and finding */

static sbx_status check_out(const void *out, const sbx_call *call, const char *function, sbx_error *err) {
    if (out != NULL || (call != NULL && call->queue != NULL)) return SBX_OK;
    return error_set(err, SBX_ERROR_INVALID, "%s: out is NULL", function);
}

static sbx_status finish_sandbox(struct op *op, sbx_sandbox **out, sbx_error *err) {
    sbx_completion done;
    sbx_status status = op_finish(op, &done, err);
    if (status == SBX_OK) *out = done.sandbox;
    return status;
}

static bool one_of(const char *value, const char *a, const char *b, const char *c) {
    return value == NULL || strcmp(value, a) == 0 || strcmp(value, b) == 0 ||
           (c != NULL && strcmp(value, c) == 0);
}

sbx_status sandbox_check_options(const sbx_sandbox_options *options, const char *name, sbx_error *err) {
    if (!one_of(options->isolation, SBX_ISOLATION_FULL, SBX_ISOLATION_LANDLOCK, SBX_ISOLATION_NONE)) {
        return error_set(err, SBX_ERROR_INVALID,
                         "%s: isolation is '%.60s': give \"full\", \"landlock\" or \"none\"", name,
                         options->isolation);
    }
    if (!one_of(options->network, "none", "host", NULL)) {
        return error_set(err, SBX_ERROR_INVALID, "%s: network is '%.60s': give \"none\" or \"host\"", name,
                         options->network);
    }
    if (options->idle_timeout_ms < SBX_NO_TIMEOUT) {
        return error_set(
            err, SBX_ERROR_INVALID,
            "%s: idle_timeout_ms is %lld: give a positive number, 0 for the default or SBX_NO_TIMEOUT", name,
            (long long)options->idle_timeout_ms);
    }
    if (options->bind_count > 0 && options->binds == NULL) {
        return error_set(err, SBX_ERROR_INVALID, "%s: binds is NULL and bind_count is %zu", name,
                         options->bind_count);
    }
    for (size_t i = 0; i < options->bind_count; i++) {
        const sbx_bind *bind = &options->binds[i];
        bool ok = bind->source != NULL && bind->source[0] == '/' &&
                  (bind->target == NULL || bind->target[0] == '/');
        if (ok) continue;
        return error_set(err, SBX_ERROR_INVALID,
                         "%s: binds[%zu] is '%.100s' at '%.100s': both must be absolute paths", name, i,
                         bind->source != NULL ? bind->source : "(NULL)",
                         bind->target != NULL ? bind->target : "");
    }
    for (size_t i = 0; options->env != NULL && options->env[i] != NULL; i++) {
        const char *equals = strchr(options->env[i], '=');
        if (equals != NULL && equals != options->env[i]) continue;
        /* Not what it says: values are often secrets. */
        return error_set(err, SBX_ERROR_INVALID, "%s: env[%zu] has no %s: write NAME=value", name, i,
                         equals == NULL ? "'='" : "name before its '='");
    }
    return SBX_OK;
}

sbx_status sbx_sandbox_create(sbx_sandbox **out, sbx_client *client, const sbx_sandbox_options *options,
                              const sbx_call *call, sbx_error *err) {
    const char *name = "sbx_sandbox_create";
    if (out != NULL) *out = NULL;
    sbx_status status = client_check(client, name, err);
    if (status == SBX_OK) status = check_out(out, call, name, err);
    sbx_sandbox_options ours;
    if (status == SBX_OK) status = OPTIONS_COPY(&ours, options, network, "sbx_sandbox_options", err);
    if (status == SBX_OK) status = sandbox_check_options(&ours, name, err);
    if (status == SBX_OK && client->provider == &provider_local)
        status = job_request_absent(&ours, name, err);
    struct op *op;
    if (status == SBX_OK) status = op_begin(&op, client, NULL, name, call, 120000, err);
    if (status != SBX_OK) return status;
    client->provider->create(op, &ours);
    return finish_sandbox(op, out, err);
}

static sbx_status check_id(const char *id, const char *function, sbx_error *err) {
    if (id != NULL && *id != '\0') return SBX_OK;
    return error_set(err, SBX_ERROR_INVALID, "%s: id is %s", function, id == NULL ? "NULL" : "empty");
}

sbx_status sbx_sandbox_connect(sbx_sandbox **out, sbx_client *client, const char *id, const sbx_call *call,
                               sbx_error *err) {
    const char *name = "sbx_sandbox_connect";
    if (out != NULL) *out = NULL;
    sbx_status status = client_check(client, name, err);
    if (status == SBX_OK) status = check_out(out, call, name, err);
    if (status == SBX_OK) status = check_id(id, name, err);
    struct op *op;
    if (status == SBX_OK) status = op_begin(&op, client, NULL, name, call, 60000, err);
    if (status != SBX_OK) return status;
    client->provider->connect(op, id);
    return finish_sandbox(op, out, err);
}

sbx_status sbx_sandbox_kill_by_id(sbx_client *client, const char *id, const sbx_call *call, sbx_error *err) {
    const char *name = "sbx_sandbox_kill_by_id";
    sbx_status status = client_check(client, name, err);
    if (status == SBX_OK) status = check_id(id, name, err);
    struct op *op;
    if (status == SBX_OK) status = op_begin(&op, client, NULL, name, call, 30000, err);
    if (status != SBX_OK) return status;
    client->provider->kill_by_id(op, id);
    return op_finish(op, NULL, err);
}

/* ---- Using */

const char *sbx_sandbox_id(const sbx_sandbox *sandbox) {
    return sandbox != NULL ? sandbox->id : "";
}

sbx_status sbx_sandbox_kill(sbx_sandbox *sandbox, const sbx_call *call, sbx_error *err) {
    const char *name = "sbx_sandbox_kill";
    sbx_status status = sandbox_check(sandbox, name, err);
    struct op *op;
    if (status == SBX_OK) status = op_begin_dead_too(&op, sandbox->client, sandbox, name, call, 30000, err);
    if (status != SBX_OK) return status;
    if (sandbox->provider != NULL) {
        sandbox->provider->kill(op, sandbox);
    } else if (sandbox->dead) {
        op_done(op, SBX_OK);
    } else {
        sandbox_endpoint_end(op);
    }
    return op_finish(op, NULL, err);
}

void sbx_sandbox_free(sbx_sandbox *sandbox) {
    if (sandbox == NULL || !client_is_ours(sandbox->client)) return;
    struct sbx_client *client = sandbox->client;
    client_hold(client);
    client_lock(client);
    sandbox_release(sandbox);
    client_unlock(client);
    client_release(client);
}

/* Without the name that a host's agent gives the sandbox, which is only the latter half of its id. */
static void put_rest(struct buf *out, const char *rest, const char *id) {
    const char *name = strchr(id, '.'), *at = NULL;
    char member[96] = "";
    if (name != NULL) snprintf(member, sizeof member, "\"id\":\"%.64s\",", name + 1);
    if (name != NULL) at = strstr(rest, member);
    if (at != NULL) {
        buf_append(out, rest, (size_t)(at - rest));
        rest = at + strlen(member);
    }
    buf_puts(out, rest);
}

/* Puts "id" (where it is missing), "provider" and "detached" in
 * front of what the agent says. */
static void informed(struct op *op, struct request_reply *reply, void *ctx) {
    (void)ctx;
    struct sbx_sandbox *sandbox = op->sandbox;
    const char *text = reply->body->data;
    struct json *value = json_parse(text, reply->body->len);
    bool ok = json_is_object(value);
    bool empty = json_first(value) == NULL;
    bool named = json_get(value, "id") != NULL;
    json_free(value);
    const char *rest = ok ? strchr(text, '{') : NULL;
    if (rest == NULL) {
        op_failf(op, SBX_ERROR_PROTOCOL, "%s: the peer's answer is no JSON object", op->name);
        return;
    }
    struct buf out = BUF_INIT(reply->body->len + KIB(16));
    buf_putc(&out, '{');
    if (!named || strchr(sandbox->id, '.') != NULL) {
        buf_puts(&out, "\"id\":");
        json_put_text(&out, sandbox->id);
        buf_putc(&out, ',');
    }
    buf_puts(&out, "\"provider\":");
    json_put_text(&out, sandbox->provider != NULL ? sandbox->provider->name : NULL);
    buf_puts(&out, sandbox->detached ? ",\"detached\":true" : ",\"detached\":false");
    if (sandbox->provider != NULL && sandbox->provider->describe != NULL && sandbox->machine != NULL)
        sandbox->provider->describe(sandbox, &out);
    if (!empty) buf_putc(&out, ',');
    put_rest(&out, rest + 1, sandbox->id);
    op->out.bytes = out.failed ? NULL : sandbox_bytes(&out);
    buf_free(&out);
    if (op->out.bytes == NULL) {
        op_fail_memory(op);
    } else {
        op_done(op, SBX_OK);
    }
}

sbx_status sbx_sandbox_info(sbx_bytes **out, sbx_sandbox *sandbox, const sbx_call *call, sbx_error *err) {
    const char *name = "sbx_sandbox_info";
    if (out != NULL) *out = NULL;
    sbx_status status = sandbox_check(sandbox, name, err);
    if (status == SBX_OK) status = check_out(out, call, name, err);
    struct op *op;
    if (status == SBX_OK) status = op_begin(&op, sandbox->client, sandbox, name, call, 60000, err);
    if (status != SBX_OK) return status;
    request_start(op, &(struct request_spec){.method = "GET",
                                             .log_route = "info",
                                             .what = "asking about the sandbox",
                                             .target = "info",
                                             .needs = ENDPOINT_PROCESS,
                                             .repeatable = true,
                                             .done = informed});
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status == SBX_OK) *out = done.bytes;
    return status;
}
