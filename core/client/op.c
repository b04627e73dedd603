#include "client/op.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cancel.h"
#include "client/client.h"
#include "client/queue.h"
#include "client/request.h"
#include "client/sandbox.h"
#include "util/clock.h"

static struct op_link *link_of(struct op *op, size_t link) {
    return (struct op_link *)(void *)((char *)op + link);
}

void op_list_add(struct op **head, struct op *op, size_t link) {
    struct op_link *own = link_of(op, link);
    own->prev = NULL;
    own->next = *head;
    if (*head != NULL) link_of(*head, link)->prev = op;
    *head = op;
}

void op_list_remove(struct op **head, struct op *op, size_t link) {
    struct op_link *own = link_of(op, link);
    if (own->prev != NULL) {
        link_of(own->prev, link)->next = own->next;
    } else {
        *head = own->next;
    }
    if (own->next != NULL) link_of(own->next, link)->prev = own->prev;
    own->next = own->prev = NULL;
}

static void time_up(void *ctx) {
    struct op *op = ctx;
    char doing[200] = "";
    if (op->doing != NULL) op->doing(op, doing, sizeof doing);
    op_failf(op, SBX_ERROR_TIMEOUT, "%s: the deadline of %lld ms passed%s%s", op->name,
             (long long)op->timeout_ms, doing[0] != '\0' ? ": " : "", doing);
}

static sbx_status check_call(sbx_call *ours, const sbx_call *call, const struct sbx_client *client,
                             const char *name, sbx_error *err) {
    sbx_status status = OPTIONS_COPY(ours, call, timeout_ms, "sbx_call", err);
    if (status != SBX_OK) return status;
    if (ours->timeout_ms < SBX_NO_TIMEOUT) {
        return error_set(
            err, SBX_ERROR_INVALID,
            "%s: call.timeout_ms is %lld: give a positive number, 0 for the default or SBX_NO_TIMEOUT", name,
            (long long)ours->timeout_ms);
    }
    return ours->queue != NULL ? queue_check(ours->queue, client, name, err) : SBX_OK;
}

static void op_free(struct op *op) {
    if (op->completion != NULL) queue_discard(op->completion);
    if (op->sandbox != NULL) sandbox_release(op->sandbox);
    io_waiter_destroy(&op->waiter);
    free(op);
}

static struct op *op_new(struct sbx_client *client, struct sbx_sandbox *sandbox, const char *name,
                         const sbx_call *call, int64_t default_timeout_ms) {
    struct op *op = calloc(1, sizeof *op);
    if (op == NULL) return NULL;
    if (call->queue != NULL && (op->completion = queue_prepare()) == NULL) {
        free(op);
        return NULL;
    }
    op->client = client;
    op->sandbox = sandbox;
    op->name = name;
    op->queue = call->queue;
    op->timeout_ms = call->timeout_ms != 0 ? call->timeout_ms : default_timeout_ms;
    op->begun_ms = clock_ms();
    op->deadline = clock_deadline(op->timeout_ms);
    op->timer.fire = time_up;
    op->timer.ctx = op;
    op->out.size = sizeof op->out;
    op->out.user = call->user;
    io_waiter_init(&op->waiter);
    return op;
}

static sbx_status begin(struct op **out, struct sbx_client *client, struct sbx_sandbox *sandbox,
                        const char *name, const sbx_call *call, int64_t default_timeout_ms, bool dead_too,
                        sbx_error *err) {
    *out = NULL;
    sbx_call ours;
    sbx_status status = check_call(&ours, call, client, name, err);
    if (status != SBX_OK) return status;
    if (atomic_load(&client->ending))
        return error_set(err, SBX_ERROR_STATE, "%s: the program is ending", name);
    struct op *op = op_new(client, sandbox, name, &ours, default_timeout_ms);
    if (op == NULL) return error_memory(err);

    client_lock(client);
    if (sandbox != NULL) sandbox_hold(sandbox);
    if (sandbox != NULL && sandbox->dead && !dead_too) {
        status = error_copy(err, &sandbox->death);
    } else if (!io_timer_set(&client->io, &op->timer, op->deadline)) {
        status = error_memory(err);
    } else if (ours.cancel != NULL && !cancel_add(ours.cancel, op)) {
        io_timer_clear(&client->io, &op->timer);
        status = error_set(err, SBX_ERROR_CANCELED, "%s: canceled before it began", name);
    }
    if (status != SBX_OK) {
        op_free(op);
        client_unlock(client);
        return status;
    }
    op->cancel = ours.cancel;
    if (op->queue != NULL) queue_add(op->queue, op);
    if (sandbox != NULL && !dead_too) {
        op_list_add(&sandbox->ops, op, offsetof(struct op, in_sandbox));
        op->listed = true;
    }
    client_hold(client);
    *out = op;
    return SBX_OK;
}

sbx_status op_check_out(const void *out, const sbx_call *call, const char *name, sbx_error *err) {
    if (out != NULL || (call != NULL && call->queue != NULL)) return SBX_OK;
    return error_set(err, SBX_ERROR_INVALID, "%s: out is NULL", name);
}

sbx_status op_begin(struct op **out, struct sbx_client *client, struct sbx_sandbox *sandbox, const char *name,
                    const sbx_call *call, int64_t default_timeout_ms, sbx_error *err) {
    return begin(out, client, sandbox, name, call, default_timeout_ms, false, err);
}

sbx_status op_begin_dead_too(struct op **out, struct sbx_client *client, struct sbx_sandbox *sandbox,
                             const char *name, const sbx_call *call, int64_t default_timeout_ms,
                             sbx_error *err) {
    return begin(out, client, sandbox, name, call, default_timeout_ms, true, err);
}

/* Gives the ended op's result to its queue and frees it. */
static void hand_to_queue(struct op *op) {
    struct completion *completion = op->completion;
    op->completion = NULL;
    queue_complete(op->queue, op, completion);
    struct sbx_client *client = op->client;
    op_free(op);
    client_release_locked(client);
}

struct op *op_apart(struct sbx_client *client, const char *name, int64_t timeout_ms,
                    void (*finished)(void *ctx, sbx_completion *out), void *ctx) {
    struct op *op = op_new(client, NULL, name, &(sbx_call){.timeout_ms = timeout_ms}, timeout_ms);
    if (op == NULL) return NULL;
    if (!io_timer_set(&client->io, &op->timer, op->deadline)) {
        op_free(op);
        return NULL;
    }
    op->apart = true;
    op->finished = finished;
    op->finished_ctx = ctx;
    client_hold(client);
    return op;
}

void op_drop(struct op *op) {
    if (op == NULL) return;
    op->finished = NULL;
    op_failf(op, SBX_ERROR_CANCELED, "%s: canceled", op->name);
}

static void finish_apart(struct op *op) {
    sbx_completion out = op->out;
    struct sbx_client *client = op->client;
    void (*finished)(void *, sbx_completion *) = op->finished;
    void *ctx = op->finished_ctx;
    op_free(op);
    if (finished != NULL) finished(ctx, &out);
    client_release_locked(client);
}

static void end(struct op *op, sbx_status status) {
    if (op->ended) return;
    op->ended = true;
    op->out.status = status;
    request_stop_all(op);
    io_timer_clear(&op->client->io, &op->timer);
    if (op->cancel != NULL) cancel_remove(op->cancel, op);
    if (op->listed) op_list_remove(&op->sandbox->ops, op, offsetof(struct op, in_sandbox));
    if (op->end != NULL) op->end(op, status);
    if (op->handed_over) {
        io_background(&op->client->io, -1);
        hand_to_queue(op);
    } else if (op->apart) {
        finish_apart(op);
    } else {
        io_notify(&op->client->io, &op->waiter);
    }
}

void op_done(struct op *op, sbx_status status) {
    end(op, status);
}

void op_fail(struct op *op, const sbx_error *error) {
    if (op->ended) return;
    op->out.error = *error;
    if (op->sandbox != NULL) endpoint_redact(&op->sandbox->endpoint, op->out.error.message);
    end(op, error->code);
}

void op_failf(struct op *op, sbx_status code, const char *format, ...) {
    if (op->ended) return;
    char message[sizeof op->out.error.message];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    error_set(&op->out.error, code, "%s", message);
    end(op, code);
}

void op_fail_memory(struct op *op) {
    op_failf(op, SBX_ERROR_MEMORY, "%s: out of memory", op->name);
}

sbx_status op_finish(struct op *op, sbx_completion *out, sbx_error *err) {
    struct sbx_client *client = op->client;
    sbx_status status = SBX_PENDING;
    if (op->queue != NULL) {
        if (op->ended) {
            hand_to_queue(op);
        } else if (io_background(&client->io, 1)) {
            op->handed_over = true;
        } else {
            status = error_system(err, errno, "%s: the client's thread cannot be started", op->name);
            end(op, status);
            queue_forget(op->queue, op);
            op_free(op);
            client_release_locked(client);
        }
        client_unlock(client);
        return status;
    }
    io_wait(&client->io, &op->waiter);
    status = op->out.status;
    if (out != NULL) *out = op->out;
    if (status < 0) error_copy(err, &op->out.error);
    op_free(op);
    client_unlock(client);
    client_release(client);
    return status;
}
