#include "client/process_handle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/farewell.h"
#include "client/feeder.h"
#include "client/sandbox.h"
#include "wire/limits.h"

/* Above it the stream pauses, so that a slow reader slows the command. */
#define UNREAD_MAX KIB(768)

sbx_status process_handle_check(const struct sbx_process *process, const char *function, sbx_error *err) {
    if (process == NULL) return error_set(err, SBX_ERROR_INVALID, "%s: process is NULL", function);
    return client_check(process->sandbox->client, function, err);
}

struct sbx_process *process_handle_new(struct sbx_sandbox *sandbox) {
    struct sbx_process *process = calloc(1, sizeof *process);
    if (process == NULL) return NULL;
    process->refs = 1;
    process->sandbox = sandbox;
    sandbox_hold(sandbox);
    process->next = sandbox->processes;
    if (process->next != NULL) process->next->prev = process;
    sandbox->processes = process;
    return process;
}

void process_handle_hold(struct sbx_process *process) {
    process->refs++;
}

void process_handle_release(struct sbx_process *process) {
    if (--process->refs > 0) return;
    struct sbx_sandbox *sandbox = process->sandbox;
    if (process->feeder != NULL) {
        feeder_stop(process->feeder);
        io_background(&sandbox->client->io, -1);
    }
    bool kill = process->foreground && !process->exited;
    if (kill && process->stream != NULL) {
        farewell_stream(sandbox, process->stream);
    } else {
        if (kill && process->id[0] != '\0') farewell_kill(sandbox, process->id, process->pid);
        if (process->stream != NULL) stream_close(process->stream);
    }
    if (process->prev != NULL) {
        process->prev->next = process->next;
    } else {
        sandbox->processes = process->next;
    }
    if (process->next != NULL) process->next->prev = process->prev;
    output_queue_clear(&process->output);
    free(process->input);
    free(process);
    sandbox_release(sandbox);
}

/* ---- The stream's sink */

static void on_start(void *ctx, const char *id, int64_t pid) {
    struct sbx_process *process = ctx;
    snprintf(process->id, sizeof process->id, "%s", id);
    process->pid = pid;
    process->read_begun = true;
    process_write_feed(process);
    struct op *op = process->starting;
    if (op == NULL) return;
    op->out.process = process;
    op_done(op, SBX_OK);
}

static void lose(struct sbx_process *process, const sbx_error *error) {
    process->failure = *error;
    if (process->starting != NULL) {
        op_fail(process->starting, error); /* which may release the process */
        return;
    }
    process_next_serve(process);
}

static void on_output(void *ctx, const struct stream_event *event) {
    struct sbx_process *process = ctx;
    if (!output_queue_put(&process->output, event)) {
        sbx_error error;
        error_memory(&error);
        stream_close(process->stream);
        process->stream = NULL;
        lose(process, &error);
        return;
    }
    process->read_begun = true;
    process->read_to[event->stream] =
        event->offset + (event->kind == STREAM_GAP ? event->dropped : (uint64_t)event->len);
    if (process->reading != NULL) process_next_serve(process);
}

static bool is_full(void *ctx) {
    const struct sbx_process *process = ctx;
    return process->output.bytes >= UNREAD_MAX;
}

static void on_exit_event(void *ctx, const struct stream_exit *exit) {
    struct sbx_process *process = ctx;
    stream_close(process->stream);
    process->stream = NULL;
    process_handle_exited(process, exit);
}

static void on_fail(void *ctx, const sbx_error *error) {
    struct sbx_process *process = ctx;
    stream_close(process->stream);
    process->stream = NULL;
    lose(process, error);
}

static const struct stream_sink sink = {.on_start = on_start,
                                        .on_output = on_output,
                                        .is_full = is_full,
                                        .on_exit = on_exit_event,
                                        .on_fail = on_fail};

bool process_handle_exec(struct sbx_process *process, char *body, size_t body_len, const char *what,
                         sbx_error *err) {
    process->stream =
        stream_exec(process->sandbox, body, body_len, process->wait_closed, what, &sink, process, err);
    return process->stream != NULL;
}

bool process_handle_follow(struct sbx_process *process, sbx_error *err) {
    process->stream =
        stream_follow(process->sandbox, process->id, process->read_begun ? process->read_to : NULL,
                      process->wait_closed, "sbx_process_next", &sink, process, err);
    return process->stream != NULL;
}

void process_handle_exited(struct sbx_process *process, const struct stream_exit *exit) {
    process->exited = true;
    process->exit = *exit;
    process_handle_hold(process);
    process_next_serve(process);
    process_wait_serve(process);
    process_handle_release(process);
}

void process_handle_fail(struct sbx_process *process, const sbx_error *error) {
    process->failure = *error;
    if (process->stream != NULL) stream_close(process->stream);
    process->stream = NULL;
    process_next_serve(process);
}

/* ---- Public */

const char *sbx_process_id(const sbx_process *process) {
    return process != NULL ? process->id : "";
}

int64_t sbx_process_pid(const sbx_process *process) {
    return process != NULL ? process->pid : 0;
}

void sbx_process_free(sbx_process *process) {
    if (process == NULL || !client_is_ours(process->sandbox->client)) return;
    struct sbx_client *client = process->sandbox->client;
    client_hold(client);
    client_lock(client);
    process_handle_release(process);
    client_unlock(client);
    client_release(client);
}
