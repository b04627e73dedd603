#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/op.h"
#include "client/provider.h"
#include "client/sandbox.h"

struct sbx_sandbox_list {
    size_t count, room;
    sbx_sandbox_info_row *rows; /* id and provider are owned */
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
    char *id = strdup(row->id != NULL ? row->id : "");
    char *provider = strdup(row->provider != NULL ? row->provider : "");
    if (id == NULL || provider == NULL) {
        free(id);
        free(provider);
        return false;
    }
    sbx_sandbox_info_row *own = &list->rows[list->count++];
    *own = *row;
    own->id = id;
    own->provider = provider;
    return true;
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
        free((void *)(uintptr_t)list->rows[i].id);
        free((void *)(uintptr_t)list->rows[i].provider);
    }
    free(list->rows);
    free(list);
}

sbx_status sbx_sandbox_list_all(sbx_sandbox_list **out, sbx_client *client, const sbx_call *call,
                                sbx_error *err) {
    const char *name = "sbx_sandbox_list_all";
    if (out != NULL) *out = NULL;
    sbx_status status = client_check(client, name, err);
    if (status != SBX_OK) return status;
    if (out == NULL && (call == NULL || call->queue == NULL)) {
        return error_set(err, SBX_ERROR_INVALID, "%s: out is NULL", name);
    }
    struct op *op;
    status = op_begin(&op, client, NULL, name, call, 60000, err);
    if (status != SBX_OK) return status;
    client->provider->list(op);
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status == SBX_OK) *out = done.sandboxes;
    return status;
}

sbx_status sbx_reap(uint64_t *out, sbx_client *client, int64_t min_age_ms, const sbx_call *call,
                    sbx_error *err) {
    const char *name = "sbx_reap";
    sbx_status status = client_check(client, name, err);
    if (status != SBX_OK) return status;
    if (min_age_ms < 0) {
        return error_set(err, SBX_ERROR_INVALID, "%s: min_age_ms is %lld: give 0 or a positive number", name,
                         (long long)min_age_ms);
    }
    struct op *op;
    status = op_begin(&op, client, NULL, name, call, 60000, err);
    if (status != SBX_OK) return status;
    client->provider->reap(op, min_age_ms);
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status == SBX_OK && out != NULL) *out = done.number;
    return status;
}
