#include "agent/tenant_output.h"

#include "agent/process_table.h"
#include "agent/tenant.h"

/* The pool that holds most, but less than `below` and more than `above`. */
static struct output_pool *next_biggest(size_t below, size_t above) {
    struct output_pool *biggest = NULL;
    for (struct tenant *t = tenants_first(); t != NULL; t = t->next) {
        struct output_pool *p = &t->sandbox.processes.pool;
        if (p->used < below && p->used > above && (biggest == NULL || p->used > biggest->used)) biggest = p;
    }
    return biggest;
}

/* First the output of ended commands, then the oldest that nobody is about to read. */
bool tenant_output_reclaim(struct output_pool *all, const struct output_pool *asking) {
    (void)all;
    size_t below = (size_t)-1;
    for (struct output_pool *p; (p = next_biggest(below, asking->used)) != NULL; below = p->used)
        if (process_table_reclaim(p, asking) || output_shrink(p)) return true;
    return false;
}
