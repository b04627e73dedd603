#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/command_body.h"
#include "client/farewell.h"
#include "client/json.h"
#include "client/process_handle.h"
#include "client/request.h"
#include "client/sandbox.h"

/* ---- Starting */

struct start {
    struct sbx_process *process;
    struct command_body body; /* background: borrowed by the request */
    char key[64];
};

static void start_free(struct start *start) {
    buf_free(&start->body.json);
    free(start);
}

/* The process belongs to the caller when the start succeeded. Else whatever was started is killed. */
static void foreground_ended(struct op *op, sbx_status status) {
    struct start *start = op->ctx;
    start->process->starting = NULL;
    if (status != SBX_OK) {
        op->out.process = NULL;
        process_handle_release(start->process);
    }
    start_free(start);
}

static void background_ended(struct op *op, sbx_status status) {
    struct start *start = op->ctx;
    if (status != SBX_OK) {
        bool early = status == SBX_ERROR_CANCELED || status == SBX_ERROR_TIMEOUT;
        if (early && start->process->id[0] == '\0') {
            farewell_start(op->sandbox, start->key, &start->body.json);
        } else if (early) {
            farewell_kill(op->sandbox, start->process->id, start->process->pid);
        }
        process_handle_release(start->process);
    }
    start_free(start);
}

static void background_started(struct op *op, struct request_reply *reply, void *ctx) {
    struct start *start = ctx;
    struct sbx_process *process = start->process;
    struct json *value = json_parse(reply->body->data, reply->body->len);
    const char *id = json_string(value, "id");
    process->pid = json_int(value, "pid", 0);
    if (id != NULL) {
        snprintf(process->id, sizeof process->id, "%s", id);
    } else if (process->pid > 0) {
        snprintf(process->id, sizeof process->id, "%lld", (long long)process->pid);
    }
    json_free(value);
    if (process->id[0] == '\0') {
        op_failf(op, SBX_ERROR_PROTOCOL, "%s: the peer's answer names no process", op->name);
        return;
    }
    process->read_begun = true;
    process_write_feed(process);
    op->out.process = process;
    op_done(op, SBX_OK);
}

static void start_background(struct op *op, struct start *start) {
    op->end = background_ended;
    request_start(op, &(struct request_spec){.method = "POST",
                                             .log_route = "processes",
                                             .what = "starting the command",
                                             .target = "processes",
                                             .content_type = "application/json",
                                             .body = start->body.json.data,
                                             .body_len = start->body.json.len,
                                             .key = start->key,
                                             .done = background_started,
                                             .ctx = start});
}

static void start_foreground(struct op *op, struct start *start) {
    sbx_error error;
    op->end = foreground_ended;
    start->process->starting = op;
    size_t len = start->body.json.len;
    char *body = buf_take(&start->body.json);
    if (body == NULL) {
        op_fail_memory(op);
    } else if (!process_handle_exec(start->process, body, len, op->name, &error)) {
        op_fail(op, &error);
    }
}

/* What the process handle needs of the command later. */
static bool keep(struct sbx_process *process, const sbx_command *command, bool feed) {
    process->foreground = !command->background;
    process->wait_closed = command->wait_descendants != 0;
    if (!feed) {
        return true;
    }
    process->input = malloc(command->input_len + 1);
    if (process->input == NULL) return false;
    memcpy(process->input, command->input, command->input_len);
    process->input_len = command->input_len;
    process->input_end = !command->input_open;
    process->input_offset = command->input_len;
    return true;
}

sbx_status sbx_process_start(sbx_process **out, sbx_sandbox *sandbox, const sbx_command *command,
                             const sbx_call *call, sbx_error *err) {
    const char *name = "sbx_process_start";
    if (out != NULL) *out = NULL;
    sbx_status status = sandbox_check(sandbox, name, err);
    if (status != SBX_OK) return status;
    if (command == NULL) return error_set(err, SBX_ERROR_INVALID, "%s: command is NULL", name);
    status = op_check_out(out, call, name, err);
    if (status != SBX_OK) return status;
    sbx_command ours;
    status = OPTIONS_COPY(&ours, command, env, "sbx_command", err);
    if (status != SBX_OK) return status;
    struct start *start = calloc(1, sizeof *start);
    if (start == NULL) return error_memory(err);
    status = command_body_make(&start->body, &ours, sandbox->endpoint.features, false, name, err);
    struct op *op = NULL;
    if (status == SBX_OK) status = op_begin(&op, sandbox->client, sandbox, name, call, 60000, err);
    if (status != SBX_OK) {
        start_free(start);
        return status;
    }
    start->process = process_handle_new(sandbox);
    if (start->process == NULL || !keep(start->process, &ours, start->body.feed)) {
        if (start->process != NULL) process_handle_release(start->process);
        start_free(start);
        op_fail_memory(op);
        return op_finish(op, NULL, err);
    }
    op->ctx = start;
    if (ours.background) {
        start_background(op, start);
    } else {
        start_foreground(op, start);
    }
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status == SBX_OK) *out = done.process;
    return status;
}

/* ---- Attaching */

static void attach_ended(struct op *op, sbx_status status) {
    if (status != SBX_OK) process_handle_release(op->ctx);
}

static bool take_entry(struct sbx_process *process, const struct json *entry) {
    const char *id = json_string(entry, "id");
    process->pid = json_int(entry, "pid", 0);
    if (id != NULL) {
        snprintf(process->id, sizeof process->id, "%s", id);
    } else if (process->pid > 0) {
        snprintf(process->id, sizeof process->id, "%lld", (long long)process->pid);
    }
    /* Later writes begin behind what was written before. */
    process->input_unsure = true;
    return process->id[0] != '\0';
}

static void attached(struct op *op, struct request_reply *reply, void *ctx) {
    struct sbx_process *process = ctx;
    struct json *entry = json_parse(reply->body->data, reply->body->len);
    bool ok = take_entry(process, entry);
    json_free(entry);
    if (!ok) {
        op_failf(op, SBX_ERROR_PROTOCOL, "%s: the peer's answer names no process", op->name);
        return;
    }
    op->out.process = process;
    op_done(op, SBX_OK);
}

sbx_status sbx_process_attach(sbx_process **out, sbx_sandbox *sandbox, const char *id, const sbx_call *call,
                              sbx_error *err) {
    const char *name = "sbx_process_attach";
    if (out != NULL) *out = NULL;
    sbx_status status = sandbox_check(sandbox, name, err);
    if (status != SBX_OK) return status;
    if (id == NULL || *id == '\0')
        return error_set(err, SBX_ERROR_INVALID, "%s: id is %s", name, id == NULL ? "NULL" : "empty");
    status = op_check_out(out, call, name, err);
    if (status != SBX_OK) return status;
    struct op *op;
    status = op_begin(&op, sandbox->client, sandbox, name, call, 60000, err);
    if (status != SBX_OK) return status;
    struct sbx_process *process = process_handle_new(sandbox);
    struct buf target = BUF_INIT(1024);
    buf_puts(&target, "processes/");
    request_path_part(&target, id);
    if (process == NULL || target.failed) {
        if (process != NULL) process_handle_release(process);
        op_fail_memory(op);
    } else {
        op->ctx = process;
        op->end = attach_ended;
        request_start(op, &(struct request_spec){.method = "GET",
                                                 .log_route = "processes/:id",
                                                 .what = "looking up the process",
                                                 .target = target.data,
                                                 .needs = ENDPOINT_PROCESS,
                                                 .repeatable = true,
                                                 .done = attached,
                                                 .ctx = process});
    }
    buf_free(&target);
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status == SBX_OK) *out = done.process;
    return status;
}
