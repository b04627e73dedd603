/* All sandboxes that can be listed: those with machines of their own, and those of pools. */
#ifndef CLI_LISTING_H
#define CLI_LISTING_H

#include "session.h"

struct listing {
    const sbx_sandbox_info_row **rows; /* what they point into is in lists */
    size_t count;
    bool pooled; /* one of them is in a pool */
    sbx_sandbox_list **lists;
    size_t list_count;
    sbx_pool_list
        *pools; /* NULL = they were not asked for, or their sandboxes are in the first list already */
};

/* False: said why. Pools have no labels: with some in `which` there are none of theirs. A pool whose
 * sandboxes cannot be listed, for example another user's, is named on standard error. */
bool listing_open(struct listing *out, struct session *s, const sbx_filter *which);
void listing_close(struct listing *listing);

#endif
