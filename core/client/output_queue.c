#include "client/output_queue.h"

#include <stdlib.h>
#include <string.h>

/* Room for what may follow: as much as the stream seems to be worth, so that one that alternates with the
   other by single bytes does not take a large block for each. */
static size_t capacity(const struct output_block *before, size_t len) {
    size_t cap = before != NULL ? before->cap * 4 : len * 4;
    if (cap < len * 4) cap = len * 4;
    if (cap < OUTPUT_BLOCK_SMALL) cap = OUTPUT_BLOCK_SMALL;
    if (cap > OUTPUT_BLOCK_SIZE) cap = OUTPUT_BLOCK_SIZE;
    return cap < len ? len : cap;
}

/* before: the block that this one goes on from; NULL = none */
static struct output_block *new_block(struct output_queue *queue, const struct output_block *before,
                                      size_t len) {
    size_t cap = capacity(before, len);
    struct output_block *block = queue->spare;
    if (block != NULL && block->cap == cap) {
        queue->spare = NULL;
    } else {
        block = malloc(sizeof *block + cap);
        if (block == NULL) return NULL;
        block->cap = cap;
    }
    block->next = NULL;
    block->len = 0;
    block->dropped = 0;
    return block;
}

static size_t weight(const struct output_block *block) {
    return sizeof *block + block->cap;
}

static void append(struct output_queue *queue, struct output_block *block) {
    if (queue->last != NULL) {
        queue->last->next = block;
    } else {
        queue->first = block;
    }
    queue->last = block;
    queue->bytes += weight(block);
}

bool output_queue_put(struct output_queue *queue, const struct stream_event *event) {
    struct output_block *last = queue->last;
    bool gap = event->kind == STREAM_GAP;
    bool follows = !gap && last != NULL && last->dropped == 0 && last->stream == event->stream &&
                   last->offset + last->len == event->offset;
    if (!follows || last->cap - last->len < event->len) {
        last = new_block(queue, follows ? last : NULL, gap ? 0 : event->len);
        if (last == NULL) return false;
        last->stream = event->stream;
        last->offset = event->offset;
        last->dropped = gap ? event->dropped : 0;
        append(queue, last);
    }
    if (gap) return true;
    memcpy(last->data + last->len, event->data, event->len);
    last->len += event->len;
    return true;
}

struct output_block *output_queue_take(struct output_queue *queue) {
    struct output_block *block = queue->first;
    if (block == NULL) return NULL;
    queue->first = block->next;
    if (queue->first == NULL) queue->last = NULL;
    queue->bytes -= weight(block);
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
