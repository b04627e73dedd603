/* Sandboxes of pools by their ids, from anywhere. As in struct provider; id: one that shared_split_id takes.
 */
#ifndef CLIENT_SHARED_FIND_H
#define CLIENT_SHARED_FIND_H

#include "client/op.h"

void shared_find_connect(struct op *op, const char *id);
void shared_find_kill(struct op *op, const char *id);

#endif
