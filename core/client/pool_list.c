#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/json.h"
#include "client/pool_local.h"
#include "client/provider.h"
#include "util/scope.h"
#include "util/text.h"
#include "wire/names.h"

/* ---- The list */

struct sbx_pool_list {
    size_t count, room;
    sbx_pool_row *rows; /* their texts are owned */
};

sbx_pool_list *pool_list_new(void) {
    return calloc(1, sizeof(sbx_pool_list));
}

bool pool_list_add(sbx_pool_list *list, const sbx_pool_row *row) {
    if (list->count == list->room) {
        size_t room = list->room == 0 ? 8 : list->room * 2;
        sbx_pool_row *grown = realloc(list->rows, room * sizeof *grown);
        if (grown == NULL) return false;
        list->rows = grown;
        list->room = room;
    }
    sbx_pool_row *own = &list->rows[list->count++], given = *row;
    *own = given;
    own->name = own->provider = own->hub_namespace = own->image = own->flavor = NULL;
    return text_copy(&own->name, given.name) && text_copy(&own->provider, given.provider) &&
           text_copy(&own->hub_namespace, given.hub_namespace) && text_copy(&own->image, given.image) &&
           text_copy(&own->flavor, given.flavor);
}

size_t sbx_pool_list_count(const sbx_pool_list *list) {
    return list != NULL ? list->count : 0;
}

const sbx_pool_row *sbx_pool_list_get(const sbx_pool_list *list, size_t index) {
    return list != NULL && index < list->count ? &list->rows[index] : NULL;
}

void sbx_pool_list_free(sbx_pool_list *list) {
    if (list == NULL) return;
    for (size_t i = 0; i < list->count; i++) {
        const sbx_pool_row *row = &list->rows[i];
        const char *texts[] = {row->name, row->provider, row->hub_namespace, row->image, row->flavor};
        for (size_t k = 0; k < sizeof texts / sizeof *texts; k++)
            free((void *)(uintptr_t)texts[k]);
    }
    free(list->rows);
    free(list);
}

/* ---- Of jobs */

struct listing {
    struct op *op;
    struct job_pages pages;
    char hub_namespace[JOB_NAME_SIZE];
    sbx_pool_list *list;
    sbx_error failure;
};

static void listing_ended(struct op *op, sbx_status status) {
    struct listing *l = op->ctx;
    (void)status;
    job_pages_stop(&l->pages);
    sbx_pool_list_free(l->list);
    free(l);
}

static void item(void *ctx, const struct job *job, const struct json *value) {
    struct listing *l = ctx;
    for (size_t i = 0; i < l->list->count; i++) {
        sbx_pool_row *row = &l->list->rows[i];
        if (strcmp(row->name, job->pool_name) != 0) continue;
        row->hosts++;
        if (job->created_ms < row->created_at_ms) row->created_at_ms = job->created_ms;
        return;
    }
    const char *capacity = json_string(json_get(value, "environment"), ENV_CAPACITY);
    sbx_pool_row row = {.name = job->pool_name,
                        .provider = "jobs",
                        .hub_namespace = jobs_namespace(l->pages.jobs, l->hub_namespace),
                        .image = job->image,
                        .flavor = job->flavor,
                        .hosts = 1,
                        .sandboxes_per_host = capacity != NULL ? text_number(capacity) : 0,
                        .created_at_ms = job->created_ms};
    if (!pool_list_add(l->list, &row)) error_memory(&l->failure);
}

static void listed(void *ctx, const sbx_error *error) {
    struct listing *l = ctx;
    if (error != NULL) l->failure = *error;
    if (l->failure.code != SBX_OK) {
        op_fail(l->op, &l->failure);
    } else {
        l->op->out.pools = steal_pointer(&l->list);
        op_done(l->op, SBX_OK);
    }
}

static void list_jobs(struct op *op, const char *hub_namespace) {
    struct listing *l = calloc(1, sizeof *l);
    if (l != NULL) l->list = pool_list_new();
    if (l == NULL || l->list == NULL) {
        free(l);
        op_fail_memory(op);
        return;
    }
    l->op = op;
    op->ctx = l;
    op->end = listing_ended;
    snprintf(l->hub_namespace, sizeof l->hub_namespace, "%s", hub_namespace != NULL ? hub_namespace : "");
    l->pages = (struct job_pages){.jobs = jobs_of(op->client),
                                  .name = op->name,
                                  .hub_namespace = l->hub_namespace,
                                  .deadline = op->deadline,
                                  .item = item,
                                  .done = listed,
                                  .ctx = l};
    job_pages_begin(&l->pages);
}

sbx_status sbx_pool_list_all(sbx_pool_list **out, sbx_client *client, const char *hub_namespace,
                             const sbx_call *call, sbx_error *err) {
    const char *name = "sbx_pool_list_all";
    if (out != NULL) *out = NULL;
    sbx_status status = client_check(client, name, err);
    if (status != SBX_OK) return status;
    if (out == NULL && (call == NULL || call->queue == NULL))
        return error_set(err, SBX_ERROR_INVALID, "%s: out is NULL", name);
    bool jobs = client->provider == &provider_jobs;
    if (hub_namespace != NULL && (!jobs || !job_name_ok(hub_namespace)))
        return error_set(err, SBX_ERROR_INVALID, "%s: hub_namespace is '%.60s': %s", name, hub_namespace,
                         jobs ? "give the name of a user or an organization" : "local pools have none");
    struct op *op;
    status = op_begin(&op, client, NULL, name, call, 60000, err);
    if (status != SBX_OK) return status;
    if (jobs) {
        list_jobs(op, hub_namespace);
    } else {
        pool_local_list(op);
    }
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status == SBX_OK) *out = done.pools;
    return status;
}
