#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/process_handle.h"
#include "client/sandbox.h"
#include "util/clock.h"
#include "wire/limits.h"

#define RESUME_BELOW KIB(256)

struct event_box { /* an event that lives by itself */
    sbx_event event;
    struct output_block *block;
    char limit[32];
};

void sbx_event_free(sbx_event *event) {
    if (event == NULL) return;
    struct event_box *box = (struct event_box *)(void *)event;
    free(box->block);
    free(box);
}

static void fill_exit(sbx_event *out, const struct stream_exit *exit, const char *limit) {
    out->type = SBX_EVENT_EXIT;
    out->exit_code = exit->exit_code;
    out->signal = exit->signal;
    out->timed_out = exit->timed_out;
    out->duration_ms = exit->duration_ms;
    out->survivors = exit->survivors;
    out->limit = limit[0] != '\0' ? limit : NULL;
}

static void fill_output(sbx_event *out, const struct output_block *block) {
    sbx_event_type stream = block->stream == 1 ? SBX_EVENT_STDERR : SBX_EVENT_STDOUT;
    out->offset = block->offset;
    if (block->dropped > 0) {
        out->type = SBX_EVENT_GAP;
        out->stream = stream;
        out->dropped = block->dropped;
    } else {
        out->type = stream;
        out->data = block->data;
        out->len = block->len;
    }
}

struct sbx_event *process_wait_event(const struct stream_exit *exit) {
    struct event_box *box = calloc(1, sizeof *box);
    if (box == NULL) return NULL;
    memcpy(box->limit, exit->limit, sizeof box->limit);
    box->event.size = sizeof box->event;
    fill_exit(&box->event, exit, box->limit);
    return &box->event;
}

enum next { NEXT_EVENT, NEXT_DONE, NEXT_FAILED, NEXT_NOTHING };

/* The next event into *out, lent until the next call. */
static enum next take(struct sbx_process *process, sbx_event *out) {
    memset(out, 0, sizeof *out);
    out->size = sizeof *out;
    struct output_block *block = output_queue_lend(&process->output);
    if (process->stream != NULL && process->output.bytes < RESUME_BELOW) stream_resume(process->stream);
    if (block != NULL) {
        fill_output(out, block);
        return NEXT_EVENT;
    }
    if (process->exited) {
        if (process->exit_given) return NEXT_DONE;
        process->exit_given = true;
        fill_exit(out, &process->exit, process->exit.limit);
        return NEXT_EVENT;
    }
    return process->failure.code != SBX_OK ? NEXT_FAILED : NEXT_NOTHING;
}

/* A loss is told once; the next call takes the output up again where that is possible. */
static void forgive(struct sbx_process *process) {
    if (!process->sandbox->dead && (process->sandbox->endpoint.features & ENDPOINT_PROCESS) &&
        process->id[0] != '\0') {
        memset(&process->failure, 0, sizeof process->failure);
    }
}

/* Gives a completion an event of its own. */
static bool box_event(struct sbx_process *process, struct op *op, const sbx_event *event) {
    struct event_box *box = calloc(1, sizeof *box);
    if (box == NULL) return false;
    box->event = *event;
    if (event->limit != NULL) {
        memcpy(box->limit, process->exit.limit, sizeof box->limit);
        box->event.limit = box->limit;
    }
    box->block = process->output.lent;
    process->output.lent = NULL;
    op->out.event = &box->event;
    return true;
}

/* Ends the op that waits, if there is now something for it. A call that waits in its thread takes the event
 * itself. */
void process_next_serve(struct sbx_process *process) {
    struct op *op = process->reading;
    if (op == NULL) return;
    if (op->queue == NULL) {
        bool ready = process->output.first != NULL || process->exited || process->failure.code != SBX_OK;
        if (ready) op_done(op, SBX_OK);
        return;
    }
    sbx_event event;
    sbx_error error;
    switch (take(process, &event)) {
    case NEXT_EVENT:
        if (box_event(process, op, &event)) {
            op_done(op, SBX_OK);
        } else {
            op_fail_memory(op);
        }
        break;
    case NEXT_DONE:
        op_done(op, SBX_DONE);
        break;
    case NEXT_FAILED:
        error = process->failure;
        forgive(process);
        op_fail(op, &error);
        break;
    case NEXT_NOTHING:
        break;
    }
}

static void reading_ended(struct op *op, sbx_status status) {
    (void)status;
    struct sbx_process *process = op->ctx;
    process->reading = NULL;
    process_handle_release(process);
}

static sbx_status begin(struct sbx_process *process, struct op **out, const sbx_call *call, sbx_error *err) {
    struct op *op;
    /* What came before the sandbox ended is still given. */
    sbx_status status = op_begin_dead_too(&op, process->sandbox->client, process->sandbox, "sbx_process_next",
                                          call, SBX_NO_TIMEOUT, err);
    if (status != SBX_OK) return status;
    *out = op;
    if (process->reading != NULL) {
        op_failf(op, SBX_ERROR_STATE, "sbx_process_next: another thread waits for output of this process");
        return SBX_OK;
    }
    op->ctx = process;
    op->end = reading_ended;
    process->reading = op;
    process_handle_hold(process);
    process_handle_hold(process);
    process_next_serve(process);
    if (process->reading == op && process->stream == NULL) {
        sbx_error error;
        if (process->sandbox->dead) {
            op_fail(op, &process->sandbox->death);
        } else if (!(process->sandbox->endpoint.features & ENDPOINT_PROCESS)) {
            op_failf(op, SBX_ERROR_UNSUPPORTED,
                     "sbx_process_next: the agent there keeps no output of background commands: it is no "
                     "hfsandbox-agent");
        } else if (!process_handle_follow(process, &error)) {
            op_fail(op, &error);
        }
    }
    process_handle_release(process);
    return SBX_OK;
}

void process_next_give(sbx_event *out, const sbx_event *event) {
    size_t size = out->size < sizeof *out ? out->size : sizeof *out;
    size_t theirs = out->size;
    memcpy(out, event, size);
    out->size = theirs;
}

sbx_status sbx_process_next(sbx_event *out, sbx_process *process, const sbx_call *call, sbx_error *err) {
    sbx_status status = process_handle_check(process, "sbx_process_next", err);
    if (status != SBX_OK) return status;
    sbx_call ours;
    sbx_event event;
    status = OPTIONS_COPY(&ours, call, timeout_ms, "sbx_call", err);
    if (status != SBX_OK) return status;
    struct op *op;
    if (ours.queue != NULL) {
        status = begin(process, &op, &ours, err);
        return status == SBX_OK ? op_finish(op, NULL, err) : status;
    }
    if (out == NULL) return error_set(err, SBX_ERROR_INVALID, "sbx_process_next: out is NULL");
    status = OPTIONS_COPY(&event, out, stream, "sbx_event", err);
    if (status != SBX_OK) return status;
    int64_t deadline = ours.timeout_ms > 0 ? clock_deadline(ours.timeout_ms) : CLOCK_NEVER;
    struct sbx_client *client = process->sandbox->client;
    for (;;) {
        client_lock(client);
        enum next next = take(process, &event);
        if (next == NEXT_FAILED) {
            status = error_copy(err, &process->failure);
            forgive(process);
        }
        client_unlock(client);
        if (next == NEXT_EVENT) process_next_give(out, &event);
        if (next != NEXT_NOTHING) return next == NEXT_EVENT ? SBX_OK : next == NEXT_DONE ? SBX_DONE : status;
        if (deadline != CLOCK_NEVER) {
            int64_t left = deadline - clock_ms();
            ours.timeout_ms = left > 0 ? left : 1;
        }
        status = begin(process, &op, &ours, err);
        if (status == SBX_OK) status = op_finish(op, NULL, err);
        if (status != SBX_OK) return status;
    }
}
