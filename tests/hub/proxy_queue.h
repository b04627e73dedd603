/* Bytes on their way: what has been read is kept in blocks, each with the moment from which it may be written. That is how the
   proxy's distance is made: every byte waits, none is held back for those before it. */
#ifndef HUB_PROXY_QUEUE_H
#define HUB_PROXY_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define QUEUE_BLOCK ((size_t)128 << 10)

struct block {
    struct block *next;
    int64_t due; /* clock_us; 0 = at once */
    size_t from, to;
    char data[QUEUE_BLOCK];
};

struct queue {
    struct block *first, *last;
    size_t bytes;
};

/* Room to read into, due then; never less than 4 KiB. NULL when memory runs out. What has been read is made known by queue_added. */
char *queue_room(struct queue *q, int64_t due, size_t *room);
void queue_added(struct queue *q, size_t len);
bool queue_put(struct queue *q, int64_t due, const void *data, size_t len);

/* What may be written now: the parts' number. */
int queue_ready(const struct queue *q, int64_t now, struct iovec *parts, int max);
void queue_drop(struct queue *q, size_t len);
void queue_clear(struct queue *q);
int64_t queue_due(const struct queue *q); /* of the first byte; CLOCK_NEVER when empty */
void queue_free_spares(void);             /* at the program's end */

#endif
