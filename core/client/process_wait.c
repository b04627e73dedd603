#include <string.h>

#include "client/client.h"
#include "client/json.h"
#include "client/process_handle.h"
#include "client/request.h"
#include "client/sandbox.h"
#include "util/clock.h"
#include "util/testing.h"

#define LINK     offsetof(struct op, in_process)
#define ROUND_MS 20000 /* one request waits so long at the agent */

static void finish(struct op *op, const struct stream_exit *exit) {
    struct sbx_process *process = op->ctx;
    /* The events that callers get borrow it; what ended the command does not change. */
    if (process->wait_limit[0] == '\0') memcpy(process->wait_limit, exit->limit, sizeof process->wait_limit);
    op->out.event = process_wait_event(exit);
    if (op->out.event == NULL) {
        op_fail_memory(op);
    } else {
        op_done(op, SBX_OK);
    }
}

void process_wait_serve(struct sbx_process *process) {
    while (process->waiting != NULL)
        finish(process->waiting, &process->exit);
}

static void waiting_ended(struct op *op, sbx_status status) {
    struct sbx_process *process = op->ctx;
    (void)status;
    op_list_remove(&process->waiting, op, LINK);
    process_handle_release(process);
}

static void ask(struct op *op);

static void answered(struct op *op, struct request_reply *reply, void *ctx) {
    (void)ctx;
    struct json *entry = json_parse(reply->body->data, reply->body->len);
    if (!json_is_object(entry)) {
        op_failf(op, SBX_ERROR_PROTOCOL, "%s: the peer's answer is no process entry", op->name);
    } else if (json_bool(entry, "running", false)) {
        ask(op);
    } else {
        struct stream_exit exit;
        if (stream_event_exit(&exit, entry)) {
            finish(op, &exit);
        } else {
            op_failf(op, SBX_ERROR_PROTOCOL, "%s: " STREAM_EVENT_NO_EXIT, op->name);
        }
    }
    json_free(entry);
}

static void ask(struct op *op) {
    struct sbx_process *process = op->ctx;
    struct buf target = BUF_INIT(256);
    int64_t round = testing_ms(ROUND_MS);
    int64_t left = op->deadline == CLOCK_NEVER ? round : op->deadline - clock_ms() + 1;
    buf_puts(&target, "processes/");
    request_path_part(&target, process->id);
    request_query_u64(&target, "wait_ms", (uint64_t)(left < round ? (left > 0 ? left : 0) : round));
    if (target.failed) {
        op_fail_memory(op);
    } else {
        request_start(op, &(struct request_spec){.method = "GET",
                                                 .log_route = "processes/:id",
                                                 .what = "waiting for the command's end",
                                                 .target = target.data,
                                                 .needs = ENDPOINT_PROCESS,
                                                 .repeatable = true,
                                                 .silence_ms = round + request_silence_ms(),
                                                 .done = answered});
    }
    buf_free(&target);
}

sbx_status sbx_process_wait(sbx_event *out, sbx_process *process, const sbx_call *call, sbx_error *err) {
    const char *name = "sbx_process_wait";
    sbx_status status = process_handle_check(process, name, err);
    if (status != SBX_OK) return status;
    sbx_event event;
    status = op_check_out(out, call, name, err);
    if (status != SBX_OK) return status;
    if (out != NULL) {
        status = OPTIONS_COPY(&event, out, stream, "sbx_event", err);
        if (status != SBX_OK) return status;
    }
    struct op *op;
    status = op_begin(&op, process->sandbox->client, process->sandbox, name, call, SBX_NO_TIMEOUT, err);
    if (status != SBX_OK) return status;
    process_handle_hold(process);
    op->ctx = process;
    op->end = waiting_ended;
    op_list_add(&process->waiting, op, LINK);
    if (process->exited) {
        finish(op, &process->exit);
    } else if (process->feed_failure.code != SBX_OK && !process->feed_told) {
        process->feed_told = true;
        op_fail(op, &process->feed_failure);
    } else if (process->stream == NULL || (process->sandbox->endpoint.features & ENDPOINT_PROCESS)) {
        ask(op);
    }
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status != SBX_OK) return status;
    if (done.event->limit != NULL) done.event->limit = process->wait_limit;
    process_next_give(out, done.event);
    sbx_event_free(done.event);
    return SBX_OK;
}
