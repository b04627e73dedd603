#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/json.h"
#include "client/request.h"
#include "client/sandbox.h"
#include "client/stream_event.h"
#include "wire/limits.h"

struct sbx_process_list {
    size_t count;
    sbx_process_info *rows;
};

size_t sbx_process_list_count(const sbx_process_list *list) {
    return list != NULL ? list->count : 0;
}

const sbx_process_info *sbx_process_list_get(const sbx_process_list *list, size_t index) {
    return list != NULL && index < list->count ? &list->rows[index] : NULL;
}

void sbx_process_list_free(sbx_process_list *list) {
    if (list == NULL) return;
    for (size_t i = 0; i < list->count; i++) {
        free((void *)(uintptr_t)list->rows[i].id);
        free((void *)(uintptr_t)list->rows[i].command);
        free((void *)(uintptr_t)list->rows[i].tag);
    }
    free(list->rows);
    free(list);
}

/* The shell text as it is; arguments as a JSON array. NULL: no memory. */
static char *command_text(const struct json *cmd) {
    struct buf text = BUF_INIT(LIMIT_JSON_BODY);
    if (json_text(cmd) != NULL) {
        buf_puts(&text, json_text(cmd));
    } else {
        buf_putc(&text, '[');
        for (const struct json *item = json_first(cmd); item != NULL; item = json_next(item)) {
            if (text.len > 1) buf_putc(&text, ',');
            json_put_text(&text, json_text(item));
        }
        buf_putc(&text, ']');
    }
    char *result = text.failed ? NULL : buf_take(&text);
    buf_free(&text);
    return result;
}

static bool fill_row(sbx_process_info *row, const struct json *entry, bool *sense) {
    struct stream_exit exit;
    *sense = stream_event_exit(&exit, entry);
    const char *id = json_string(entry, "id"), *tag = json_string(entry, "tag");
    row->id = strdup(id != NULL ? id : "");
    row->tag = tag != NULL ? strdup(tag) : NULL;
    row->command = command_text(json_get(entry, "cmd"));
    row->pid = json_int(entry, "pid", 0);
    row->started_at_ms = json_int(entry, "started_at_ms", 0);
    row->running = json_bool(entry, "running", false);
    row->exit_code = exit.exit_code;
    row->signal = exit.signal;
    row->timed_out = exit.timed_out;
    const struct json *out = json_get(entry, "stdout"), *errs = json_get(entry, "stderr");
    row->stdout_start = json_uint(out, "start", 0);
    row->stdout_end = json_uint(out, "end", 0);
    row->stderr_start = json_uint(errs, "start", 0);
    row->stderr_end = json_uint(errs, "end", 0);
    return row->id != NULL && row->command != NULL && (tag == NULL || row->tag != NULL);
}

static void listed(struct op *op, struct request_reply *reply, void *ctx) {
    (void)ctx;
    struct json *array = json_parse(reply->body->data, reply->body->len);
    if (!json_is_array(array)) {
        json_free(array);
        op_failf(op, SBX_ERROR_PROTOCOL, "%s: the peer's answer is no list of processes", op->name);
        return;
    }
    sbx_process_list *list = calloc(1, sizeof *list);
    size_t count = json_count(array);
    bool ok = list != NULL, sense = true;
    if (ok) ok = (list->rows = calloc(count + 1, sizeof *list->rows)) != NULL;
    for (const struct json *entry = json_first(array); ok && sense && entry != NULL; entry = json_next(entry))
        ok = fill_row(&list->rows[list->count++], entry, &sense);
    json_free(array);
    if (!sense) {
        sbx_process_list_free(list);
        op_failf(op, SBX_ERROR_PROTOCOL, "%s: " STREAM_EVENT_NO_EXIT, op->name);
        return;
    }
    if (!ok) {
        sbx_process_list_free(list);
        op_fail_memory(op);
        return;
    }
    op->out.processes = list;
    op_done(op, SBX_OK);
}

sbx_status sbx_process_list_all(sbx_process_list **out, sbx_sandbox *sandbox, const sbx_call *call,
                                sbx_error *err) {
    const char *name = "sbx_process_list_all";
    if (out != NULL) *out = NULL;
    sbx_status status = sandbox_check(sandbox, name, err);
    if (status != SBX_OK) return status;
    status = op_check_out(out, call, name, err);
    if (status != SBX_OK) return status;
    struct op *op;
    status = op_begin(&op, sandbox->client, sandbox, name, call, 60000, err);
    if (status != SBX_OK) return status;
    request_start(op, &(struct request_spec){.method = "GET",
                                             .log_route = "processes",
                                             .what = "listing the processes",
                                             .target = "processes",
                                             .repeatable = true,
                                             .max_reply = MIB(256),
                                             .done = listed});
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status == SBX_OK) *out = done.processes;
    return status;
}
