#include "listing.h"

#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "pools.h"
#include "print.h"

#define POOL_MS 20000 /* one pool does not keep the others waiting for longer */

static void add(struct listing *l, sbx_sandbox_list *list) {
    size_t more = sbx_sandbox_list_count(list);
    const sbx_sandbox_info_row **rows = print_allocate((l->count + more + 1) * sizeof *rows);
    for (size_t i = 0; i < l->count; i++)
        rows[i] = l->rows[i];
    for (size_t i = 0; i < more; i++) {
        rows[l->count + i] = sbx_sandbox_list_get(list, i);
        l->pooled = l->pooled || rows[l->count + i]->pool;
    }
    free(l->rows);
    l->rows = rows;
    l->count += more;
    l->lists[l->list_count++] = list;
}

/* False: the user's signal. */
static bool add_pool(struct listing *l, struct session *s, const char *hub_namespace,
                     const sbx_pool_row *row) {
    sbx_error err;
    sbx_completion done;
    sbx_pool *pool;
    sbx_pool_options options = {SBX_POOL_OPTIONS_INIT, .hub_namespace = hub_namespace};
    sbx_status status = pools_try(&pool, s, row->name, &options, POOL_MS, &err);
    if (status == SBX_OK) {
        sbx_call call = session_call(s, POOL_MS, &call);
        status = session_wait(s, sbx_pool_sandboxes(NULL, pool, &call, &err), &call, &done, &err);
        sbx_pool_free(pool);
    }
    if (status == SBX_OK) {
        add(l, done.sandboxes);
    } else if (s->canceled) {
        return false;
    } else if (status != SBX_ERROR_NOT_FOUND) { /* it has not ended meanwhile */
        char text[1024];
        session_text(text, sizeof text, &err);
        print_error("the sandboxes of pool '%s' are not listed: %s", row->name, text);
    }
    return true;
}

bool listing_open(struct listing *out, struct session *s, const sbx_filter *which) {
    sbx_error err;
    sbx_completion done;
    bool pools = strcmp(options_provider(s->provider), "jobs") == 0 && !(which->labels && *which->labels);
    *out = (struct listing){0};
    sbx_call call = session_call(s, 0, &call);
    sbx_status status =
        session_wait(s, sbx_sandbox_list_all(NULL, s->client, which, &call, &err), &call, &done, &err);
    sbx_sandbox_list *own = done.sandboxes;
    if (status == SBX_OK && pools) {
        sbx_call also = session_call(s, 0, &also);
        status = session_wait(s, sbx_pool_list_all(NULL, s->client, which->hub_namespace, &also, &err), &also,
                              &done, &err);
        out->pools = done.pools;
    }
    size_t pool_count = sbx_pool_list_count(out->pools);
    out->lists = print_allocate((pool_count + 1) * sizeof(sbx_sandbox_list *));
    if (own) add(out, own);
    bool going = status == SBX_OK;
    for (size_t i = 0; going && i < pool_count; i++)
        going = add_pool(out, s, which->hub_namespace, sbx_pool_list_get(out->pools, i));
    if (going) return true;
    if (status != SBX_OK) session_failed(&err);
    listing_close(out);
    return false;
}

void listing_close(struct listing *listing) {
    for (size_t i = 0; i < listing->list_count; i++)
        sbx_sandbox_list_free(listing->lists[i]);
    sbx_pool_list_free(listing->pools);
    free(listing->lists);
    free(listing->rows);
    *listing = (struct listing){0};
}
