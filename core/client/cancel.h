/* Cancel tokens: each knows the ops that it would end, of whatever client. Its own lock is taken inside a
 * client's lock, never around one. */
#ifndef CLIENT_CANCEL_H
#define CLIENT_CANCEL_H

#include <stdbool.h>

#include "client/op.h"

bool cancel_add(struct sbx_cancel *cancel, struct op *op); /* false: it was used already. Holds the token. */
void cancel_remove(struct sbx_cancel *cancel, struct op *op); /* lets go of it */

#endif
