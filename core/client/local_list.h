/* The local sandboxes: those of this client, and the detached ones of this user as their records tell. */
#ifndef CLIENT_LOCAL_LIST_H
#define CLIENT_LOCAL_LIST_H

#include <stdbool.h>

#include "client/op.h"
#include "client/record.h"

struct local_found {
    struct record record; /* when it cannot be read: id, pid and created_at_ms as far as they are known */
    int keeper;           /* pidfd, or -1; the visitor's when it takes it (sets -1) */
    bool running, damaged;
};

/* One sandbox; false with *err when there is none. */
bool local_look(struct local_found *found, int runtime, const char *id, sbx_error *err);
void local_found_forget(struct local_found *found);

typedef bool local_visit(struct local_found *found, int runtime, void *ctx); /* false: no memory, and stops */
sbx_status local_walk(struct sbx_client *client, local_visit *visitor, void *ctx, sbx_error *err);

void local_list(struct op *op, const sbx_filter *filter); /* as in struct provider */

#endif
