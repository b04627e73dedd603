/* Output that has come and was not asked for yet: blocks in the order of arrival. Pure. */
#ifndef CLIENT_OUTPUT_QUEUE_H
#define CLIENT_OUTPUT_QUEUE_H

#include "client/stream_event.h"

#define OUTPUT_BLOCK_SIZE  (64 * 1024)
#define OUTPUT_BLOCK_SMALL 256

struct output_block {
    struct output_block *next;
    int stream; /* 0 = stdout, 1 = stderr */
    uint64_t offset;
    uint64_t dropped; /* not 0: a gap, without data */
    size_t len, cap;
    char data[];
};

struct output_queue {
    struct output_block *first, *last;
    struct output_block *lent;  /* given to the reader until its next call */
    struct output_block *spare; /* one for reuse */
    size_t bytes;               /* of memory that the queued blocks take */
};

bool output_queue_put(struct output_queue *queue, const struct stream_event *event); /* false: no memory */
struct output_block *
output_queue_take(struct output_queue *queue); /* NULL = empty; the caller's, who frees it */
struct output_block *
output_queue_lend(struct output_queue *queue); /* likewise, but takes it back at the next call */
void output_queue_take_back(struct output_queue *queue);
void output_queue_clear(struct output_queue *queue);

#endif
