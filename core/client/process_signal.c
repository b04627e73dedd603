#include <stdio.h>
#include <stdlib.h>

#include "client/client.h"
#include "client/json.h"
#include "client/process_handle.h"
#include "client/request.h"
#include "client/sandbox.h"

static void target_of(struct buf *target, const struct sbx_process *process, const char *rest) {
    buf_puts(target, "processes/");
    request_path_part(target, process->id);
    buf_puts(target, rest);
}

struct signal_body { /* lives as long as the op's request */
    char text[64];
};

static void signalled(struct op *op, struct request_reply *reply, void *ctx) {
    (void)ctx;
    struct json *value = json_parse(reply->body->data, reply->body->len);
    op->out.number = json_uint(value, "signalled", 0);
    json_free(value);
    op_done(op, SBX_OK);
}

static void free_body(struct op *op, sbx_status status) {
    (void)status;
    free(op->ctx);
}

sbx_status sbx_process_signal(uint64_t *out, sbx_process *process, int signal, int whole_tree,
                              const sbx_call *call, sbx_error *err) {
    const char *name = "sbx_process_signal";
    sbx_status status = process_handle_check(process, name, err);
    if (status != SBX_OK) return status;
    if (signal < 1 || signal > 64) {
        return error_set(err, SBX_ERROR_INVALID, "%s: signal is %d: give 1 to 64", name, signal);
    }
    struct op *op;
    status = op_begin(&op, process->sandbox->client, process->sandbox, name, call, 60000, err);
    if (status != SBX_OK) return status;
    struct buf target = BUF_INIT(256);
    target_of(&target, process, "/signal");
    struct signal_body *body = malloc(sizeof *body);
    op->ctx = body;
    op->end = free_body;
    if (body == NULL || target.failed) {
        op_fail_memory(op);
    } else {
        int len = snprintf(body->text, sizeof body->text, "{\"signal\":%d,\"scope\":\"%s\"}", signal,
                           whole_tree ? "tree" : "leader");
        request_start(op, &(struct request_spec){.method = "POST",
                                                 .log_route = "processes/:id/signal",
                                                 .what = "sending the signal",
                                                 .target = target.data,
                                                 .content_type = "application/json",
                                                 .body = body->text,
                                                 .body_len = (uint64_t)len,
                                                 .needs = ENDPOINT_PROCESS,
                                                 .done = signalled});
    }
    buf_free(&target);
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status == SBX_OK && out != NULL) *out = done.number;
    return status;
}

static void killed(struct op *op, struct request_reply *reply, void *ctx) {
    (void)ctx;
    if (reply->head->status != 404) {
        struct json *value = json_parse(reply->body->data, reply->body->len);
        op->out.number = json_uint(value, "signalled", json_bool(value, "killed", false));
        json_free(value);
    }
    op_done(op, SBX_OK);
}

static void process_unheld(struct op *op, sbx_status status) {
    (void)status;
    process_handle_release(op->ctx);
}

sbx_status sbx_process_kill(uint64_t *out, sbx_process *process, const sbx_call *call, sbx_error *err) {
    const char *name = "sbx_process_kill";
    sbx_status status = process_handle_check(process, name, err);
    if (status != SBX_OK) return status;
    struct op *op;
    status = op_begin(&op, process->sandbox->client, process->sandbox, name, call, 60000, err);
    if (status != SBX_OK) return status;
    process_handle_hold(process);
    op->ctx = process;
    op->end = process_unheld;
    struct buf target = BUF_INIT(256);
    target_of(&target, process, "?keep=1");
    if (target.failed) {
        op_fail_memory(op);
    } else {
        request_start(op, &(struct request_spec){.method = "DELETE",
                                                 .log_route = "processes/:id",
                                                 .what = "killing the command",
                                                 .target = target.data,
                                                 .repeatable = true,
                                                 .accepts = 404,
                                                 .done = killed});
    }
    buf_free(&target);
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status == SBX_OK && out != NULL) *out = done.number;
    return status;
}
