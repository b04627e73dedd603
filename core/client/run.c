#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/command_body.h"
#include "client/farewell.h"
#include "client/feeder.h"
#include "client/sandbox.h"
#include "client/output_stream.h"
#include "client/op.h"
#include "wire/limits.h"

#define OUTPUT_DEFAULT MIB(16)

struct sbx_result {
    struct stream_exit exit;
    char *data[2];
    size_t len[2];
    uint64_t cut[2];
};

struct run {
    struct op *op;
    struct stream *stream;
    struct feeder *feeder;
    const void *input; /* to be fed after the start; NULL = none */
    void *input_copy;
    size_t input_len;
    struct buf kept[2];
    uint64_t cut[2];
};

static void run_free(struct run *run) {
    buf_free(&run->kept[0]);
    buf_free(&run->kept[1]);
    free(run->input_copy);
    free(run);
}

static void run_ended(struct op *op, sbx_status status) {
    struct run *run = op->ctx;
    if (run->feeder != NULL) feeder_stop(run->feeder);
    if (run->stream != NULL) {
        if (status == SBX_OK) {
            stream_close(run->stream);
        } else {
            farewell_stream(op->sandbox, run->stream);
        }
    }
    run_free(run);
}

static void on_fed(void *ctx, const sbx_error *error) {
    struct run *run = ctx;
    run->feeder = NULL;
    if (error == NULL) return;
    /* A command need not read all its input; how it ended says more. */
    bool ended = error->code == SBX_ERROR_NOT_FOUND || error->code == SBX_ERROR_CONFLICT ||
                 error->code == SBX_ERROR_GONE;
    if (ended) return;
    sbx_error said;
    error_set(&said, error->code, "%s: %.400s", run->op->name, error->message);
    said.http_status = error->http_status;
    said.system_errno = error->system_errno;
    op_fail(run->op, &said);
}

static void on_start(void *ctx, const char *id, int64_t pid) {
    struct run *run = ctx;
    (void)pid;
    if (run->input == NULL) return;
    run->feeder = feeder_start(run->op->sandbox, id, run->input, run->input_len, true, on_fed, run);
    if (run->feeder == NULL) op_fail_memory(run->op);
}

static void on_output(void *ctx, const struct stream_event *event) {
    struct run *run = ctx;
    struct buf *kept = &run->kept[event->stream];
    if (event->kind == STREAM_GAP) {
        run->cut[event->stream] += event->dropped;
        return;
    }
    size_t room = kept->max - kept->len;
    size_t take = event->len < room ? event->len : room;
    run->cut[event->stream] += event->len - take;
    if (take > 0 && !buf_append(kept, event->data, take)) op_fail_memory(run->op);
}

static void on_exit_event(void *ctx, const struct stream_exit *exit) {
    struct run *run = ctx;
    struct op *op = run->op;
    sbx_result *result = calloc(1, sizeof *result);
    bool ok = result != NULL;
    for (int i = 0; ok && i < 2; i++) {
        result->len[i] = run->kept[i].len;
        result->cut[i] = run->cut[i];
        result->data[i] = buf_take(&run->kept[i]);
        ok = result->data[i] != NULL;
    }
    if (!ok) {
        sbx_result_free(result);
        op_fail_memory(op);
        return;
    }
    result->exit = *exit;
    op->out.result = result;
    op_done(op, SBX_OK);
}

static void on_fail(void *ctx, const sbx_error *error) {
    struct run *run = ctx;
    /* The stream has ended, and would never tell the id that farewell_stream waits for. */
    if (stream_id(run->stream)[0] != '\0') {
        farewell_kill(run->op->sandbox, stream_id(run->stream), stream_pid(run->stream));
    }
    stream_close(run->stream);
    run->stream = NULL;
    op_fail(run->op, error);
}

static const struct stream_sink sink = {
    .on_start = on_start, .on_output = on_output, .on_exit = on_exit_event, .on_fail = on_fail};

/* The input outlives this function's caller's memory when the call completes on a queue. */
static bool keep_input(struct run *run, const sbx_command *command, bool later) {
    run->input = command->input;
    run->input_len = command->input_len;
    if (!later) return true;
    run->input_copy = malloc(command->input_len);
    if (run->input_copy == NULL) return false;
    memcpy(run->input_copy, command->input, command->input_len);
    run->input = run->input_copy;
    return true;
}

static void start(struct op *op, struct run *run, const sbx_command *command, struct command_body *body) {
    sbx_error error;
    run->op = op;
    size_t limit = command->output_limit != 0 ? command->output_limit : OUTPUT_DEFAULT;
    buf_init(&run->kept[0], limit);
    buf_init(&run->kept[1], limit);
    op->ctx = run;
    op->end = run_ended;
    size_t len = body->json.len;
    char *text = buf_take(&body->json);
    if (text == NULL || (body->feed && !keep_input(run, command, op->queue != NULL))) {
        free(text);
        op_fail_memory(op);
        return;
    }
    run->stream =
        stream_exec(op->sandbox, text, len, command->wait_descendants != 0, op->name, &sink, run, &error);
    if (run->stream == NULL) op_fail(op, &error);
}

sbx_status sbx_run(sbx_result **out, sbx_sandbox *sandbox, const sbx_command *command, const sbx_call *call,
                   sbx_error *err) {
    const char *name = "sbx_run";
    if (out != NULL) *out = NULL;
    sbx_status status = sandbox_check(sandbox, name, err);
    if (status != SBX_OK) return status;
    if (command == NULL) return error_set(err, SBX_ERROR_INVALID, "%s: command is NULL", name);
    status = op_check_out(out, call, name, err);
    if (status != SBX_OK) return status;
    sbx_command ours;
    struct command_body body;
    status = OPTIONS_COPY(&ours, command, env, "sbx_command", err);
    if (status == SBX_OK)
        status = command_body_make(&body, &ours, sandbox->endpoint.features, true, name, err);
    if (status != SBX_OK) return status;
    struct run *run = calloc(1, sizeof *run);
    struct op *op = NULL;
    status = run != NULL ? op_begin(&op, sandbox->client, sandbox, name, call, SBX_NO_TIMEOUT, err)
                         : error_memory(err);
    if (status != SBX_OK) {
        free(run);
        buf_free(&body.json);
        return status;
    }
    start(op, run, &ours, &body);
    buf_free(&body.json);
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status == SBX_OK) *out = done.result;
    return status;
}

/* ---- The result */

int sbx_result_exit_code(const sbx_result *result) {
    return result != NULL ? result->exit.exit_code : -1;
}

int sbx_result_signal(const sbx_result *result) {
    return result != NULL ? result->exit.signal : 0;
}

int sbx_result_timed_out(const sbx_result *result) {
    return result != NULL && result->exit.timed_out;
}

int64_t sbx_result_duration_ms(const sbx_result *result) {
    return result != NULL ? result->exit.duration_ms : 0;
}

const char *sbx_result_limit(const sbx_result *result) {
    return result != NULL && result->exit.limit[0] != '\0' ? result->exit.limit : NULL;
}

static const void *data_of(const sbx_result *result, int stream, size_t *len) {
    if (len != NULL) *len = result != NULL ? result->len[stream] : 0;
    return result != NULL ? result->data[stream] : "";
}

const void *sbx_result_stdout(const sbx_result *result, size_t *len) {
    return data_of(result, 0, len);
}

const void *sbx_result_stderr(const sbx_result *result, size_t *len) {
    return data_of(result, 1, len);
}

size_t sbx_result_stdout_size(const sbx_result *result) {
    return result != NULL ? result->len[0] : 0;
}

size_t sbx_result_stderr_size(const sbx_result *result) {
    return result != NULL ? result->len[1] : 0;
}

uint64_t sbx_result_stdout_cut(const sbx_result *result) {
    return result != NULL ? result->cut[0] : 0;
}

uint64_t sbx_result_stderr_cut(const sbx_result *result) {
    return result != NULL ? result->cut[1] : 0;
}

void sbx_result_free(sbx_result *result) {
    if (result == NULL) return;
    free(result->data[0]);
    free(result->data[1]);
    free(result);
}
