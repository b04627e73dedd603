#include "client/cancel.h"

#include <pthread.h>
#include <stdlib.h>

#include "client/client.h"

#define LINK offsetof(struct op, in_cancel)

struct sbx_cancel {
    pthread_mutex_t lock;
    int refs; /* the handle and each op */
    bool used;
    struct op *ops;
};

sbx_status sbx_cancel_new(sbx_cancel **out, sbx_error *err) {
    if (out == NULL) return error_set(err, SBX_ERROR_INVALID, "sbx_cancel_new: out is NULL");
    *out = calloc(1, sizeof **out);
    if (*out == NULL) return error_memory(err);
    pthread_mutex_init(&(*out)->lock, NULL);
    (*out)->refs = 1;
    return SBX_OK;
}

/* Unlocks. */
static void release(struct sbx_cancel *cancel) {
    bool last = --cancel->refs == 0;
    pthread_mutex_unlock(&cancel->lock);
    if (!last) return;
    pthread_mutex_destroy(&cancel->lock);
    free(cancel);
}

void sbx_cancel_free(sbx_cancel *cancel) {
    if (cancel == NULL) return;
    pthread_mutex_lock(&cancel->lock);
    release(cancel);
}

bool cancel_add(struct sbx_cancel *cancel, struct op *op) {
    pthread_mutex_lock(&cancel->lock);
    bool usable = !cancel->used;
    if (usable) {
        cancel->refs++;
        op_list_add(&cancel->ops, op, LINK);
    }
    pthread_mutex_unlock(&cancel->lock);
    return usable;
}

void cancel_remove(struct sbx_cancel *cancel, struct op *op) {
    pthread_mutex_lock(&cancel->lock);
    op_list_remove(&cancel->ops, op, LINK);
    release(cancel);
}

/* Any op of the token that is of this client (NULL: of any). */
static struct op *find(struct sbx_cancel *cancel, const struct sbx_client *client) {
    struct op *op = cancel->ops;
    while (op != NULL && client != NULL && op->client != client)
        op = op->in_cancel.next;
    return op;
}

void sbx_cancel_now(sbx_cancel *cancel) {
    if (cancel == NULL) return;
    pthread_mutex_lock(&cancel->lock);
    cancel->used = true;
    cancel->refs++;
    struct op *op;
    while ((op = find(cancel, NULL)) != NULL) {
        /* The op keeps its client alive as long as it is listed here. */
        struct sbx_client *client = op->client;
        if (!client_is_ours(client)) break;
        client_hold(client);
        pthread_mutex_unlock(&cancel->lock);

        client_lock(client);
        for (;;) {
            pthread_mutex_lock(&cancel->lock);
            op = find(cancel, client);
            pthread_mutex_unlock(&cancel->lock);
            if (op == NULL) break;
            op_failf(op, SBX_ERROR_CANCELED, "%s: canceled", op->name);
        }
        client_unlock(client);
        client_release(client);

        pthread_mutex_lock(&cancel->lock);
    }
    release(cancel);
}
