/* Listing and reaping local sandboxes: those of this client, and the detached ones of this user. */
#ifndef CLIENT_LOCAL_LIST_H
#define CLIENT_LOCAL_LIST_H

#include <stdint.h>

#include "client/op.h"

/* As in struct provider. */
void local_list(struct op *op);
void local_list_reap(struct op *op, int64_t min_age_ms);

#endif
