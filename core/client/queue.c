#include "client/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/client.h"
#include "client/poller.h"
#include "client/sandbox.h"
#include "util/clock.h"

#define LINK offsetof(struct op, in_queue)

struct completion {
    sbx_completion value;
    struct completion *next;
};

struct sbx_queue {
    struct sbx_client *client;
    int fd; /* readable while `first` is not NULL */
    struct completion *first, **last;
    struct op *ops;
    struct io_waiter *waiting; /* of sbx_queue_next */
};

struct completion *queue_prepare(void) {
    return calloc(1, sizeof(struct completion));
}

void queue_discard(struct completion *completion) {
    free(completion);
}

sbx_status queue_check(const struct sbx_queue *queue, const struct sbx_client *client, const char *function,
                       sbx_error *err) {
    if (queue->client == client) return SBX_OK;
    return error_set(err, SBX_ERROR_INVALID, "%s: call.queue belongs to another client", function);
}

void queue_add(struct sbx_queue *queue, struct op *op) {
    op_list_add(&queue->ops, op, LINK);
}

void queue_forget(struct sbx_queue *queue, struct op *op) {
    op_list_remove(&queue->ops, op, LINK);
}

void queue_complete(struct sbx_queue *queue, struct op *op, struct completion *completion) {
    op_list_remove(&queue->ops, op, LINK);
    completion->value = op->out;
    completion->next = NULL;
    if (queue->first == NULL) poller_wake(queue->fd);
    *queue->last = completion;
    queue->last = &completion->next;
    if (queue->waiting != NULL) io_notify(&queue->client->io, queue->waiting);
}

sbx_status sbx_queue_new(sbx_queue **out, sbx_client *client, sbx_error *err) {
    if (out == NULL) return error_set(err, SBX_ERROR_INVALID, "sbx_queue_new: out is NULL");
    *out = NULL;
    sbx_status status = client_check(client, "sbx_queue_new", err);
    if (status != SBX_OK) return status;
    sbx_queue *queue = calloc(1, sizeof *queue);
    if (queue == NULL) return error_memory(err);
    queue->fd = poller_wake_open();
    if (queue->fd < 0) {
        free(queue);
        return error_system(err, errno, "sbx_queue_new: no descriptor for the queue");
    }
    queue->last = &queue->first;
    queue->client = client;
    client_hold(client);
    *out = queue;
    return SBX_OK;
}

int sbx_queue_fd(const sbx_queue *queue) {
    return queue != NULL ? queue->fd : -1;
}

static struct completion *pop(struct sbx_queue *queue) {
    struct completion *completion = queue->first;
    if (completion == NULL) return NULL;
    queue->first = completion->next;
    if (queue->first == NULL) {
        queue->last = &queue->first;
        poller_calm(queue->fd);
    }
    return completion;
}

static void time_up(void *ctx) {
    struct sbx_queue *queue = ctx;
    io_notify(&queue->client->io, queue->waiting);
}

/* Sleeps until a completion is there or the time is up. */
static sbx_status await_one(struct sbx_queue *queue, int64_t timeout_ms, sbx_error *err) {
    struct io *io = &queue->client->io;
    struct io_timer timer = {.fire = time_up, .ctx = queue};
    struct io_waiter waiter;
    if (!io_timer_set(io, &timer, clock_deadline(timeout_ms))) return error_memory(err);
    io_waiter_init(&waiter);
    queue->waiting = &waiter;
    io_wait(io, &waiter);
    queue->waiting = NULL;
    io_waiter_destroy(&waiter);
    io_timer_clear(io, &timer);
    return SBX_OK;
}

/* What a completion owned, when nobody will read it. */
static void free_results(sbx_completion *value) {
    sbx_sandbox_free(value->sandbox);
    sbx_process_free(value->process);
    sbx_result_free(value->result);
    sbx_bytes_free(value->bytes);
    sbx_file_list_free(value->files);
    sbx_process_list_free(value->processes);
    sbx_sandbox_list_free(value->sandboxes);
    sbx_hardware_list_free(value->hardware);
    sbx_pool_free(value->pool);
    sbx_pool_list_free(value->pools);
    sbx_event_free(value->event);
    sbx_file_info_free(value->file);
}

sbx_status sbx_queue_next(sbx_completion *out, sbx_queue *queue, int64_t timeout_ms, sbx_error *err) {
    const char *name = "sbx_queue_next";
    if (out == NULL || queue == NULL) {
        return error_set(err, SBX_ERROR_INVALID, "%s: %s is NULL", name, out == NULL ? "out" : "queue");
    }
    if (timeout_ms < SBX_NO_TIMEOUT) {
        return error_set(err, SBX_ERROR_INVALID,
                         "%s: timeout_ms is %lld: give 0, a positive number or SBX_NO_TIMEOUT", name,
                         (long long)timeout_ms);
    }
    sbx_completion scratch;
    sbx_status status = OPTIONS_COPY(&scratch, out, error, "sbx_completion", err);
    if (status == SBX_OK) status = client_check(queue->client, name, err);
    if (status != SBX_OK) return status;

    client_lock(queue->client);
    if (queue->waiting != NULL) {
        status = error_set(err, SBX_ERROR_STATE, "%s: another thread waits on this queue already", name);
    } else if (queue->first == NULL && timeout_ms != 0) {
        status = await_one(queue, timeout_ms, err);
    }
    struct completion *completion = status == SBX_OK ? pop(queue) : NULL;
    client_unlock(queue->client);
    if (status != SBX_OK) return status;
    if (completion == NULL) return SBX_DONE;
    size_t size = out->size < sizeof *out ? out->size : sizeof *out;
    completion->value.size = out->size;
    memcpy(out, &completion->value, size);
    free(completion);
    return SBX_OK;
}

void sbx_queue_free(sbx_queue *queue) {
    if (queue == NULL || !client_is_ours(queue->client)) return;
    struct sbx_client *client = queue->client;
    client_lock(client);
    while (queue->ops != NULL)
        op_failf(queue->ops, SBX_ERROR_CANCELED, "%s: canceled: its queue was freed", queue->ops->name);
    struct completion *completion = queue->first;
    io_settle(&client->io);
    client_unlock(client);
    while (completion != NULL) {
        struct completion *next = completion->next;
        free_results(&completion->value);
        free(completion);
        completion = next;
    }
    close(queue->fd);
    free(queue);
    client_release(client);
}
