/* Ends detached local sandboxes by what their directories tell of their keepers; no agent needs to answer. */
#ifndef CLIENT_LOCAL_END_H
#define CLIENT_LOCAL_END_H

#include <stdint.h>

#include "client/op.h"

void local_end_older(struct op *op, const sbx_filter *filter); /* as reap in struct provider */
void local_end_pool(struct op *op, const char *pool);          /* all that name this pool */
void local_end_one(struct op *op, const char *id);             /* as kill_by_id there, for detached ones */

#endif
