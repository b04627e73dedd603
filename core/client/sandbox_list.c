#include <stdlib.h>

#include "client/client.h"
#include "client/op.h"
#include "client/provider.h"
#include "client/sandbox.h"
#include "util/text.h"

struct sbx_sandbox_list {
    size_t count, room;
    sbx_sandbox_info_row *rows; /* their texts are owned */
};

sbx_sandbox_list *sandbox_list_new(void) {
    return calloc(1, sizeof(sbx_sandbox_list));
}

bool sandbox_list_add(sbx_sandbox_list *list, const sbx_sandbox_info_row *row) {
    if (list->count == list->room) {
        size_t room = list->room == 0 ? 8 : list->room * 2;
        sbx_sandbox_info_row *grown = realloc(list->rows, room * sizeof *grown);
        if (grown == NULL) return false;
        list->rows = grown;
        list->room = room;
    }
    sbx_sandbox_info_row *own = &list->rows[list->count++], given = *row;
    *own = given;
    own->id = own->provider = own->hub_namespace = own->stage = own->image = own->flavor = own->pool = NULL;
    return text_copy(&own->id, given.id != NULL ? given.id : "") &&
           text_copy(&own->provider, given.provider != NULL ? given.provider : "") &&
           text_copy(&own->hub_namespace, given.hub_namespace) && text_copy(&own->stage, given.stage) &&
           text_copy(&own->image, given.image) && text_copy(&own->flavor, given.flavor) &&
           text_copy(&own->pool, given.pool);
}

size_t sbx_sandbox_list_count(const sbx_sandbox_list *list) {
    return list != NULL ? list->count : 0;
}

const sbx_sandbox_info_row *sbx_sandbox_list_get(const sbx_sandbox_list *list, size_t index) {
    return list != NULL && index < list->count ? &list->rows[index] : NULL;
}

void sbx_sandbox_list_free(sbx_sandbox_list *list) {
    if (list == NULL) return;
    for (size_t i = 0; i < list->count; i++) {
        const sbx_sandbox_info_row *row = &list->rows[i];
        const char *texts[] = {row->id,    row->provider, row->hub_namespace, row->stage,
                               row->image, row->flavor,   row->pool};
        for (size_t k = 0; k < sizeof texts / sizeof *texts; k++)
            free((void *)(uintptr_t)texts[k]);
    }
    free(list->rows);
    free(list);
}

static sbx_status take_filter(sbx_filter *ours, const sbx_filter *given, const struct sbx_client *client,
                              const char *name, sbx_error *err) {
    sbx_status status = OPTIONS_COPY(ours, given, labels, "sbx_filter", err);
    if (status != SBX_OK) return status;
    if (ours->min_age_ms < 0)
        return error_set(err, SBX_ERROR_INVALID, "%s: min_age_ms is %lld: give 0 or a positive number", name,
                         (long long)ours->min_age_ms);
    if (client->provider == &provider_local && (ours->labels != NULL || ours->hub_namespace != NULL))
        return error_set(err, SBX_ERROR_INVALID, "%s: local sandboxes have no %s: that is for provider jobs",
                         name, ours->labels != NULL ? "labels" : "namespace");
    return SBX_OK;
}

sbx_status sbx_sandbox_list_all(sbx_sandbox_list **out, sbx_client *client, const sbx_filter *filter,
                                const sbx_call *call, sbx_error *err) {
    const char *name = "sbx_sandbox_list_all";
    if (out != NULL) *out = NULL;
    sbx_status status = client_check(client, name, err);
    if (status != SBX_OK) return status;
    status = op_check_out(out, call, name, err);
    if (status != SBX_OK) return status;
    sbx_filter ours;
    status = take_filter(&ours, filter, client, name, err);
    struct op *op;
    if (status == SBX_OK) status = op_begin(&op, client, NULL, name, call, 60000, err);
    if (status != SBX_OK) return status;
    client->provider->list(op, &ours);
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status == SBX_OK) *out = done.sandboxes;
    return status;
}

sbx_status sbx_reap(uint64_t *out, sbx_client *client, const sbx_filter *filter, const sbx_call *call,
                    sbx_error *err) {
    const char *name = "sbx_reap";
    sbx_status status = client_check(client, name, err);
    if (status != SBX_OK) return status;
    sbx_filter ours;
    status = take_filter(&ours, filter, client, name, err);
    struct op *op;
    if (status == SBX_OK) status = op_begin(&op, client, NULL, name, call, 60000, err);
    if (status != SBX_OK) return status;
    client->provider->reap(op, &ours);
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status == SBX_OK && out != NULL) *out = done.number;
    return status;
}
