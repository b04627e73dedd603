#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/feeder.h"
#include "client/json.h"
#include "client/process_handle.h"
#include "client/request.h"
#include "client/sandbox.h"

struct write {
    struct sbx_process *process;
    const void *data;
    void *copy; /* of a call that outlives the function */
    size_t len;
    bool end;
    char offset[32];
};

static void send_it(struct op *op);

/* The next write may begin. They are sent one after the other, because each begins where the one before has
 * ended. */
static void start_next(struct sbx_process *process) {
    if (process->feeder != NULL || process->writing == NULL) return;
    struct op *first = process->writing;
    while (first->in_process.next != NULL)
        first = first->in_process.next;
    if (first->requests != NULL) return;
    if (process->feed_failure.code != SBX_OK) {
        op_fail(first, &process->feed_failure); /* nothing may stand where the lost bytes belong */
    } else {
        send_it(first);
    }
}

static void write_ended(struct op *op, sbx_status status) {
    struct write *w = op->ctx;
    struct sbx_process *process = w->process;
    if (status != SBX_OK) process->input_unsure = true;
    op_list_remove(&process->writing, op, offsetof(struct op, in_process));
    free(w->copy);
    free(w);
    start_next(process);
    process_handle_release(process);
}

static void written(struct op *op, struct request_reply *reply, void *ctx) {
    struct write *w = ctx;
    struct json *value = json_parse(reply->body->data, reply->body->len);
    w->process->input_offset = json_uint(value, "offset", w->process->input_offset + w->len);
    w->process->input_unsure = false;
    json_free(value);
    op_done(op, SBX_OK);
}

static void send_it(struct op *op) {
    struct write *w = op->ctx;
    struct sbx_process *process = w->process;
    struct buf target = BUF_INIT(256);
    buf_puts(&target, "processes/");
    request_path_part(&target, process->id);
    buf_puts(&target, "/stdin");
    /* With an offset a repetition feeds nothing twice. Where it is not known the bytes go behind what was
     * taken, once. */
    bool sure = !process->input_unsure;
    if (sure) request_query_u64(&target, "offset", process->input_offset);
    if (w->end) request_query(&target, "eof", "1");
    if (target.failed) {
        op_fail_memory(op);
    } else {
        request_start(op, &(struct request_spec){.method = "PUT",
                                                 .log_route = "processes/:id/stdin",
                                                 .what = "writing to the command's input",
                                                 .target = target.data,
                                                 .content_type = "application/octet-stream",
                                                 .body = w->data,
                                                 .body_len = w->len,
                                                 .needs = ENDPOINT_PROCESS,
                                                 .repeatable = sure,
                                                 .silence_ms = -1,
                                                 .done = written,
                                                 .ctx = w});
    }
    buf_free(&target);
}

/* The command may wait for the rest for ever: whoever waits for the command is told. */
static void feed_failed(struct sbx_process *process, const sbx_error *error) {
    sbx_error *failure = &process->feed_failure;
    error_set(failure, error->code, "sbx_process_start: %.400s", error->message);
    failure->http_status = error->http_status;
    failure->system_errno = error->system_errno;
    process->feed_told = process->reading != NULL || process->waiting != NULL;
    if (process->failure.code == SBX_OK) process->failure = *failure;
    process_next_serve(process);
    while (process->waiting != NULL)
        op_fail(process->waiting, failure);
}

static void fed(void *ctx, const sbx_error *error) {
    struct sbx_process *process = ctx;
    process->feeder = NULL;
    if (error != NULL) process->input_unsure = true;
    bool ended = error == NULL || error->code == SBX_ERROR_NOT_FOUND || error->code == SBX_ERROR_CONFLICT ||
                 error->code == SBX_ERROR_GONE;
    process_handle_hold(process);
    if (!ended) feed_failed(process, error);
    io_background(&process->sandbox->client->io, -1);
    start_next(process);
    process_handle_release(process);
}

/* Input that was given with the start and did not fit into it. */
void process_write_feed(struct sbx_process *process) {
    if (process->input == NULL || process->feeder != NULL) return;
    /* Nobody may call anything while it is fed. */
    if (!io_background(&process->sandbox->client->io, 1)) return;
    process->feeder = feeder_start(process->sandbox, process->id, process->input, process->input_len,
                                   process->input_end, fed, process);
    if (process->feeder == NULL) io_background(&process->sandbox->client->io, -1);
}

sbx_status sbx_process_write(sbx_process *process, const void *data, size_t len, int end,
                             const sbx_call *call, sbx_error *err) {
    const char *name = "sbx_process_write";
    sbx_status status = process_handle_check(process, name, err);
    if (status != SBX_OK) return status;
    if (data == NULL && len > 0)
        return error_set(err, SBX_ERROR_INVALID, "%s: data is NULL and len is %zu", name, len);
    bool later = call != NULL && call->size >= offsetof(sbx_call, user) && call->queue != NULL;
    struct write *w = calloc(1, sizeof *w);
    if (w != NULL && later && len > 0 && (w->copy = malloc(len)) != NULL) memcpy(w->copy, data, len);
    if (w == NULL || (later && len > 0 && w->copy == NULL)) {
        free(w);
        return error_memory(err);
    }
    w->process = process;
    w->data = len == 0 ? "" : w->copy != NULL ? w->copy : data;
    w->len = len;
    w->end = end != 0;
    struct op *op;
    status = op_begin(&op, process->sandbox->client, process->sandbox, name, call, 60000, err);
    if (status != SBX_OK) {
        free(w->copy);
        free(w);
        return status;
    }
    process_handle_hold(process);
    op->ctx = w;
    op->end = write_ended;
    op_list_add(&process->writing, op, offsetof(struct op, in_process));
    start_next(process);
    return op_finish(op, NULL, err);
}
