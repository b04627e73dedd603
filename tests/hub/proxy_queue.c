#include "proxy_queue.h"

#include <stdlib.h>
#include <string.h>

#include "util/clock.h"

#define LEAST_ROOM ((size_t)4096)
#define SPARES     32

static struct block *spares;
static int spare_count;

static struct block *new_block(int64_t due) {
    struct block *b = spares;
    if (b != NULL) {
        spares = b->next;
        spare_count--;
    } else if ((b = malloc(sizeof *b)) == NULL)
        return NULL;
    b->next = NULL;
    b->due = due;
    b->from = b->to = 0;
    return b;
}

static void free_block(struct block *b) {
    if (spare_count == SPARES) {
        free(b);
        return;
    }
    b->next = spares;
    spares = b;
    spare_count++;
}

void queue_free_spares(void) {
    while (spares != NULL) {
        struct block *next = spares->next;
        free(spares);
        spares = next;
    }
    spare_count = 0;
}

char *queue_room(struct queue *q, int64_t due, size_t *room) {
    struct block *b = q->last;
    if (b == NULL || b->due != due || QUEUE_BLOCK - b->to < LEAST_ROOM) {
        /* An unused block can be there when a read brought nothing. */
        if (b != NULL && b->from == b->to && b->to < LEAST_ROOM)
            b->due = due;
        else if ((b = new_block(due)) == NULL)
            return NULL;
        else {
            if (q->last != NULL)
                q->last->next = b;
            else
                q->first = b;
            q->last = b;
        }
    }
    *room = QUEUE_BLOCK - b->to;
    return b->data + b->to;
}

void queue_added(struct queue *q, size_t len) {
    q->last->to += len;
    q->bytes += len;
}

bool queue_put(struct queue *q, int64_t due, const void *data, size_t len) {
    const char *p = data;
    while (len > 0) {
        size_t room;
        char *to = queue_room(q, due, &room);
        if (to == NULL) return false;
        size_t step = len < room ? len : room;
        memcpy(to, p, step);
        queue_added(q, step);
        p += step;
        len -= step;
    }
    return true;
}

int queue_ready(const struct queue *q, int64_t now, struct iovec *parts, int max) {
    int count = 0;
    for (struct block *b = q->first; b != NULL && b->due <= now && count < max; b = b->next)
        if (b->to > b->from) parts[count++] = (struct iovec){b->data + b->from, b->to - b->from};
    return count;
}

void queue_drop(struct queue *q, size_t len) {
    q->bytes -= len;
    while (q->first != NULL) {
        struct block *b = q->first;
        size_t here = b->to - b->from;
        if (len < here) {
            b->from += len;
            return;
        }
        len -= here;
        if (len == 0 && here == 0) return; /* a block that is still unused */
        q->first = b->next;
        if (q->first == NULL) q->last = NULL;
        free_block(b);
    }
}

void queue_clear(struct queue *q) {
    while (q->first != NULL) {
        struct block *next = q->first->next;
        free_block(q->first);
        q->first = next;
    }
    q->last = NULL;
    q->bytes = 0;
}

int64_t queue_due(const struct queue *q) {
    for (struct block *b = q->first; b != NULL; b = b->next)
        if (b->to > b->from) return b->due;
    return CLOCK_NEVER;
}
