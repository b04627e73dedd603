/* Queues: where calls complete that nobody waits for. */
#ifndef CLIENT_QUEUE_H
#define CLIENT_QUEUE_H

#include "client/op.h"

struct completion;

/* All with the client's lock. */
sbx_status queue_check(const struct sbx_queue *queue, const struct sbx_client *client, const char *function,
                       sbx_error *err); /* without the lock */
struct completion *queue_prepare(void); /* NULL: no memory */
void queue_discard(struct completion *completion);
void queue_add(struct sbx_queue *queue, struct op *op);    /* the op will complete here */
void queue_forget(struct sbx_queue *queue, struct op *op); /* it will not */
/* Puts the op's result there; takes completion over. */
void queue_complete(struct sbx_queue *queue, struct op *op, struct completion *completion);

#endif
