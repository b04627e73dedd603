#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/files.h"
#include "client/json.h"
#include "client/request.h"
#include "util/text.h"
#include "wire/limits.h"

#define PAGE_MAX MIB(256) /* a peer without pages sends all at once */

struct sbx_file_list {
    size_t count, cap;
    sbx_file_info *rows;
};

struct listing {
    char *path;
    char *after; /* where the next page begins; NULL = at the beginning */
    sbx_file_list *list;
};

size_t sbx_file_list_count(const sbx_file_list *list) {
    return list != NULL ? list->count : 0;
}

const sbx_file_info *sbx_file_list_get(const sbx_file_list *list, size_t index) {
    return list != NULL && index < list->count ? &list->rows[index] : NULL;
}

void sbx_file_list_free(sbx_file_list *list) {
    if (list == NULL) return;
    free(list->rows);
    free(list);
}

static void ended(struct op *op, sbx_status status) {
    struct listing *l = op->ctx;
    (void)status;
    sbx_file_list_free(l->list);
    free(l->after);
    free(l->path);
    free(l);
}

static sbx_file_info *new_row(sbx_file_list *list) {
    if (list->count == list->cap) {
        size_t cap = list->cap == 0 ? 16 : 2 * list->cap;
        sbx_file_info *grown = realloc(list->rows, cap * sizeof *grown);
        if (grown == NULL) return NULL;
        list->rows = grown;
        list->cap = cap;
    }
    return &list->rows[list->count];
}

/* The real bytes of an entry's name, where JSON could not hold them; NULL: it could. The escaped names stand
   in the order of the entries: *next is the first that was not used yet. */
static const char *raw_name(const struct json **next, size_t index, char room[1024]) {
    char key[24];
    snprintf(key, sizeof key, "%zu", index);
    const char *text = *next != NULL ? json_text(*next) : NULL;
    if (text == NULL || strcmp(json_name(*next), key) != 0 || strlen(text) >= 1024) return NULL;
    *next = json_next(*next);
    memcpy(room, text, strlen(text) + 1);
    room[text_percent_decode(room, strlen(room))] = '\0';
    return room;
}

/* False: op has ended. */
static bool add_rows(struct op *op, struct listing *l, const struct json *page) {
    const struct json *escaped = json_first(json_get(page, "escaped_names"));
    size_t index = 0;
    for (const struct json *e = json_first(json_get(page, "entries")); e != NULL; e = json_next(e), index++) {
        char room[1024];
        const char *raw = raw_name(&escaped, index, room);
        sbx_file_info *row = new_row(l->list);
        if (row == NULL) {
            op_fail_memory(op);
            return false;
        }
        if (!files_info(row, e, raw)) {
            op_failf(op, SBX_ERROR_PROTOCOL, "%s: an entry of the peer's list has no name", op->name);
            return false;
        }
        l->list->count++;
    }
    return true;
}

static void ask(struct op *op);

static void page_came(struct op *op, struct request_reply *reply, void *ctx) {
    struct listing *l = ctx;
    struct json *page = json_parse(reply->body->data, reply->body->len);
    const char *next = json_string(page, "next");
    if (!json_is_array(json_get(page, "entries"))) {
        op_failf(op, SBX_ERROR_PROTOCOL, "%s: the peer's answer is no list of files", op->name);
    } else if (next != NULL && l->after != NULL && strcmp(next, l->after) == 0) {
        op_failf(op, SBX_ERROR_PROTOCOL, "%s: the peer sends the same page again and again", op->name);
    } else if (add_rows(op, l, page)) {
        free(l->after);
        l->after = next != NULL && next[0] != '\0' ? strdup(next) : NULL;
        if (l->after != NULL) {
            ask(op);
        } else if (next != NULL && next[0] != '\0') {
            op_fail_memory(op);
        } else {
            op->out.files = l->list;
            l->list = NULL;
            op_done(op, SBX_OK);
        }
    }
    json_free(page);
}

static void ask(struct op *op) {
    struct listing *l = op->ctx;
    struct buf target = files_target("list", l->path);
    if (l->after != NULL) request_query(&target, "after", l->after);
    if (target.failed) {
        op_fail_memory(op);
    } else {
        request_start(op, &(struct request_spec){.method = "GET",
                                                 .log_route = "files/list",
                                                 .what = "listing a directory",
                                                 .target = target.data,
                                                 .repeatable = true,
                                                 .max_reply = PAGE_MAX,
                                                 .done = page_came,
                                                 .ctx = l});
    }
    buf_free(&target);
}

sbx_status sbx_file_list_all(sbx_file_list **out, sbx_sandbox *sandbox, const char *path,
                             const sbx_call *call, sbx_error *err) {
    const char *name = "sbx_file_list_all";
    if (out != NULL) *out = NULL;
    if (out == NULL && !files_has_queue(call))
        return error_set(err, SBX_ERROR_INVALID, "%s: out is NULL", name);
    struct op *op;
    sbx_status status = files_begin(&op, sandbox, name, path, call, 60000, err);
    if (status != SBX_OK) return status;
    struct listing *l = calloc(1, sizeof *l);
    if (l != NULL) {
        op->ctx = l;
        op->end = ended;
        l->path = strdup(path);
        l->list = calloc(1, sizeof *l->list);
    }
    if (l == NULL || l->path == NULL || l->list == NULL) {
        op_fail_memory(op);
    } else {
        ask(op);
    }
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status == SBX_OK) *out = done.files;
    return status;
}
