#include <stdlib.h>

#include "client/client.h"
#include "client/frame_reader.h"
#include "client/process_handle.h"
#include "client/request.h"
#include "client/sandbox.h"
#include "wire/limits.h"

struct held {
    struct op *op;
    struct sbx_process *process;
    struct request *request;
    int stream;
    uint64_t from; /* where the bytes begin */
    bool begun;
    struct frame_reader frames;
    struct buf bytes;
};

static void held_ended(struct op *op, sbx_status status) {
    struct held *held = op->ctx;
    (void)status;
    process_handle_release(held->process);
    frame_reader_free(&held->frames);
    buf_free(&held->bytes);
    free(held);
}

static void give(struct held *held) {
    struct op *op = held->op;
    op->out.number = held->from;
    op->out.bytes = sandbox_bytes(&held->bytes);
    if (op->out.bytes == NULL) {
        op_fail_memory(op);
    } else {
        op_done(op, SBX_OK);
    }
}

/* False: there is enough. */
static bool take_event(struct held *held, const struct stream_event *event) {
    if ((event->kind != STREAM_OUTPUT && event->kind != STREAM_GAP) || event->stream != held->stream)
        return true;
    if (event->kind == STREAM_GAP) {
        /* Bytes behind a hole would not stand where the caller thinks. */
        if (held->begun) return false;
        held->from = event->offset + event->dropped;
        return true;
    }
    if (!held->begun) held->from = event->offset;
    held->begun = true;
    size_t room = held->bytes.max - held->bytes.len;
    buf_append(&held->bytes, event->data, event->len < room ? event->len : room);
    return event->len < room && !held->bytes.failed;
}

static enum transfer_flow on_data(void *ctx, const char *data, size_t len) {
    struct held *held = ctx;
    for (;;) {
        struct stream_event event = {.bad = NULL};
        switch (frame_reader_next(&held->frames, &data, &len, &event)) {
        case STREAM_MORE:
            return TRANSFER_TAKEN;
        case STREAM_BAD:
            op_failf(held->op, SBX_ERROR_PROTOCOL, "%s: %s", held->op->name,
                     event.bad != NULL ? event.bad : "the peer's stream of output makes no sense");
            return TRANSFER_STOP;
        case STREAM_EVENT:
            break;
        }
        if (!take_event(held, &event)) {
            give(held);
            return TRANSFER_STOP;
        }
    }
}

static void complete(struct op *op, struct request_reply *reply, void *ctx) {
    (void)op;
    (void)reply;
    give(ctx);
}

static void ask(struct op *op, struct held *held, uint64_t offset) {
    struct buf target = BUF_INIT(256);
    buf_puts(&target, "processes/");
    request_path_part(&target, held->process->id);
    buf_puts(&target, "/output");
    request_query_u64(&target, held->stream == 1 ? "stderr" : "stdout", offset);
    if (target.failed) {
        op_fail_memory(op);
    } else {
        request_start(op, &(struct request_spec){.method = "GET",
                                                 .log_route = "processes/:id/output",
                                                 .what = "reading held output",
                                                 .target = target.data,
                                                 .accept = FRAME_TYPE,
                                                 .needs = ENDPOINT_PROCESS | ENDPOINT_FRAMES,
                                                 .repeatable = true,
                                                 .on_data = on_data,
                                                 .done = complete,
                                                 .ctx = held});
    }
    buf_free(&target);
}

sbx_status sbx_process_output(sbx_bytes **out, uint64_t *out_offset, sbx_process *process,
                              sbx_event_type stream, uint64_t offset, size_t max, const sbx_call *call,
                              sbx_error *err) {
    const char *name = "sbx_process_output";
    if (out != NULL) *out = NULL;
    sbx_status status = process_handle_check(process, name, err);
    if (status != SBX_OK) return status;
    status = op_check_out(out, call, name, err);
    if (status != SBX_OK) return status;
    if (stream != SBX_EVENT_STDOUT && stream != SBX_EVENT_STDERR) {
        return error_set(err, SBX_ERROR_INVALID,
                         "%s: stream is %d: give SBX_EVENT_STDOUT or SBX_EVENT_STDERR", name, (int)stream);
    }
    struct op *op;
    status = op_begin(&op, process->sandbox->client, process->sandbox, name, call, 60000, err);
    if (status != SBX_OK) return status;
    struct held *held = calloc(1, sizeof *held);
    if (held == NULL) {
        op_fail_memory(op);
        return op_finish(op, NULL, err);
    }
    held->op = op;
    held->process = process;
    held->stream = stream == SBX_EVENT_STDERR;
    held->from = offset;
    frame_reader_init(&held->frames);
    buf_init(&held->bytes, max != 0 ? max : MIB(1));
    process_handle_hold(process);
    op->ctx = held;
    op->end = held_ended;
    ask(op, held, offset);
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status != SBX_OK) return status;
    *out = done.bytes;
    if (out_offset != NULL) *out_offset = done.number;
    return SBX_OK;
}
