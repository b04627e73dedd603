#include "client/output_queue.h"

#include <stdlib.h>
#include <string.h>

static struct output_block *new_block(struct output_queue *queue, size_t len) {
    struct output_block *block = queue->spare;
    if (block != NULL && block->cap >= len) {
        queue->spare = NULL;
    } else {
        size_t cap = len > OUTPUT_BLOCK_SIZE ? len : len > 4096 ? OUTPUT_BLOCK_SIZE : 4096;
        block = malloc(sizeof *block + cap);
        if (block == NULL) return NULL;
        block->cap = cap;
    }
    block->next = NULL;
    block->len = 0;
    block->dropped = 0;
    return block;
}

static void append(struct output_queue *queue, struct output_block *block) {
    if (queue->last != NULL) {
        queue->last->next = block;
    } else {
        queue->first = block;
    }
    queue->last = block;
}

bool output_queue_put(struct output_queue *queue, const struct stream_event *event) {
    struct output_block *last = queue->last;
    bool gap = event->kind == STREAM_GAP;
    bool joins = !gap && last != NULL && last->dropped == 0 && last->stream == event->stream &&
                 last->offset + last->len == event->offset && last->cap - last->len >= event->len;
    if (!joins) {
        last = new_block(queue, gap ? 0 : event->len);
        if (last == NULL) return false;
        last->stream = event->stream;
        last->offset = event->offset;
        last->dropped = gap ? event->dropped : 0;
        append(queue, last);
    }
    if (gap) return true;
    memcpy(last->data + last->len, event->data, event->len);
    last->len += event->len;
    queue->bytes += event->len;
    return true;
}

struct output_block *output_queue_take(struct output_queue *queue) {
    struct output_block *block = queue->first;
    if (block == NULL) return NULL;
    queue->first = block->next;
    if (queue->first == NULL) queue->last = NULL;
    queue->bytes -= block->len;
    return block;
}

void output_queue_take_back(struct output_queue *queue) {
    struct output_block *block = queue->lent;
    queue->lent = NULL;
    if (block == NULL) return;
    if (queue->spare == NULL && block->cap == OUTPUT_BLOCK_SIZE) {
        queue->spare = block;
    } else {
        free(block);
    }
}

struct output_block *output_queue_lend(struct output_queue *queue) {
    output_queue_take_back(queue);
    return queue->lent = output_queue_take(queue);
}

void output_queue_clear(struct output_queue *queue) {
    struct output_block *block;
    while ((block = output_queue_take(queue)) != NULL)
        free(block);
    free(queue->lent);
    free(queue->spare);
    memset(queue, 0, sizeof *queue);
}
