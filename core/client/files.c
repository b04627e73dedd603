#include "client/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/json.h"
#include "client/request.h"
#include "client/sandbox.h"
#include "util/text.h"
#include "wire/limits.h"

#define TRIES 3 /* of a change whose reply was lost */

bool files_has_queue(const sbx_call *call) {
    return call != NULL && call->size >= offsetof(sbx_call, user) && call->queue != NULL;
}

sbx_status files_begin(struct op **out, sbx_sandbox *sandbox, const char *name, const char *path,
                       const sbx_call *call, int64_t default_timeout_ms, sbx_error *err) {
    sbx_status status = sandbox_check(sandbox, name, err);
    if (status != SBX_OK) return status;
    if (path == NULL || path[0] == '\0')
        return error_set(err, SBX_ERROR_INVALID, "%s: a path is %s", name, path == NULL ? "NULL" : "empty");
    if (strlen(path) >= LIMIT_PATH)
        return error_set(err, SBX_ERROR_INVALID, "%s: the path is longer than %d bytes", name,
                         LIMIT_PATH - 1);
    return op_begin(out, sandbox->client, sandbox, name, call, default_timeout_ms, err);
}

struct buf files_target(const char *route, const char *path) {
    struct buf target = BUF_INIT(8 * LIMIT_PATH);
    buf_puts(&target, "files/");
    buf_puts(&target, route);
    request_query(&target, "path", path);
    return target;
}

uint64_t files_part(uint64_t size) {
    uint64_t part = size / FILES_STREAMS + 1;
    return part < KIB(256) ? KIB(256) : part > MIB(4) ? MIB(4) : part;
}

sbx_status files_local_error(sbx_error *err, int error_number, const char *function, const char *path) {
    sbx_error local;
    if (err == NULL) err = &local;
    error_system(err, error_number, "%s: %s on this computer", function, path);
    switch (error_number) {
    case ENOENT:
        return err->code = SBX_ERROR_NOT_FOUND;
    case EISDIR:
        return err->code = SBX_ERROR_IS_DIRECTORY;
    case ENOTDIR:
        return err->code = SBX_ERROR_NOT_DIRECTORY;
    case EACCES:
    case EPERM:
    case EROFS:
        return err->code = SBX_ERROR_DENIED;
    default:
        return err->code;
    }
}

static sbx_file_type type_of(const char *name) {
    if (name != NULL && strcmp(name, "dir") == 0) return SBX_FILE_DIRECTORY;
    return name != NULL && strcmp(name, "symlink") == 0 ? SBX_FILE_SYMLINK : SBX_FILE_REGULAR;
}

bool files_info(sbx_file_info *out, const struct json *entry, const char *name) {
    const char *mode = json_string(entry, "mode");
    if (name == NULL) name = json_string(entry, "name");
    if (name == NULL) return false;
    memset(out, 0, sizeof *out);
    out->size_of_struct = sizeof *out;
    size_t len = strlen(name);
    memcpy(out->name, name, len < sizeof out->name ? len : sizeof out->name - 1);
    out->type = type_of(json_string(entry, "type"));
    out->size = json_uint(entry, "size", 0);
    out->mtime_ms = json_int(entry, "mtime_ms", 0);
    if (mode != NULL && !text_mode(mode, strlen(mode), &out->mode)) out->mode = 0;
    return true;
}

/* ---- State */

void sbx_file_info_free(sbx_file_info *info) {
    free(info);
}

static void stat_known(struct op *op, struct request_reply *reply, void *ctx) {
    (void)ctx;
    struct json *entry = json_parse(reply->body->data, reply->body->len);
    sbx_file_info *info = calloc(1, sizeof *info);
    if (info == NULL) {
        op_fail_memory(op);
    } else if (!files_info(info, entry, NULL)) {
        op_failf(op, SBX_ERROR_PROTOCOL, "%s: the peer's answer describes no file", op->name);
        free(info);
    } else {
        memcpy(info->etag, reply->head->etag, sizeof info->etag);
        op->out.file = info;
        op_done(op, SBX_OK);
    }
    json_free(entry);
}

sbx_status sbx_file_stat(sbx_file_info *out, sbx_sandbox *sandbox, const char *path, const sbx_call *call,
                         sbx_error *err) {
    const char *name = "sbx_file_stat";
    if (out == NULL && !files_has_queue(call))
        return error_set(err, SBX_ERROR_INVALID, "%s: out is NULL", name);
    if (out != NULL && out->size_of_struct < offsetof(sbx_file_info, etag))
        return error_set(err, SBX_ERROR_INVALID,
                         "%s: out->size_of_struct is %zu: initialise it with SBX_FILE_INFO_INIT", name,
                         out->size_of_struct);
    struct op *op;
    sbx_status status = files_begin(&op, sandbox, name, path, call, 60000, err);
    if (status != SBX_OK) return status;
    struct buf target = files_target("stat", path);
    if (target.failed) {
        op_fail_memory(op);
    } else {
        request_start(op, &(struct request_spec){.method = "GET",
                                                 .log_route = "files/stat",
                                                 .what = "reading a file's state",
                                                 .target = target.data,
                                                 .repeatable = true,
                                                 .done = stat_known});
    }
    buf_free(&target);
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status != SBX_OK) return status;
    size_t size = out->size_of_struct;
    memcpy(out, done.file, size < sizeof *out ? size : sizeof *out);
    out->size_of_struct = size;
    sbx_file_info_free(done.file);
    return SBX_OK;
}

/* ---- Changes of the tree */

struct change {
    const char *method, *route, *what; /* literals */
    char *target;
    unsigned needs;
    bool repeatable;   /* twice is the same as once */
    bool gone_is_fine; /* sent again after a lost reply, "not found" says that it had happened */
    int64_t silence_ms;
    unsigned tries;
};

static void change_ended(struct op *op, sbx_status status) {
    struct change *c = op->ctx;
    (void)status;
    free(c->target);
    free(c);
}

static void changed(struct op *op, struct request_reply *reply, void *ctx) {
    (void)reply;
    (void)ctx;
    op_done(op, SBX_OK);
}

static void change_send(struct op *op);

static void change_failed(struct op *op, const sbx_error *error, void *ctx) {
    struct change *c = ctx;
    if (!c->gone_is_fine) {
        op_fail(op, error);
    } else if (error->code == SBX_ERROR_UNKNOWN_OUTCOME && c->tries < TRIES) {
        change_send(op);
    } else if (error->code == SBX_ERROR_NOT_FOUND && c->tries > 1) {
        op_done(op, SBX_OK);
    } else if (error->code == SBX_ERROR_CONNECTION && c->tries > 1) {
        op_failf(op, SBX_ERROR_UNKNOWN_OUTCOME, "%s; it may or may not have happened", error->message);
    } else {
        op_fail(op, error);
    }
}

static void change_send(struct op *op) {
    struct change *c = op->ctx;
    c->tries++;
    request_start(op, &(struct request_spec){.method = c->method,
                                             .log_route = c->route,
                                             .what = c->what,
                                             .target = c->target,
                                             .body = "",
                                             .needs = c->needs,
                                             .repeatable = c->repeatable,
                                             .silence_ms = c->silence_ms,
                                             .done = changed,
                                             .on_error = change_failed,
                                             .ctx = c});
}

/* The rest of each function below: sends the change to target, which it takes over, and waits. */
static sbx_status change(struct op *op, const struct change *wanted, struct buf *target, sbx_error *err) {
    struct change *c = malloc(sizeof *c);
    bool ok = c != NULL && !target->failed;
    if (ok) {
        *c = *wanted;
        c->target = buf_take(target);
        op->ctx = c;
        op->end = change_ended;
        change_send(op);
    } else {
        free(c);
        op_fail_memory(op);
    }
    buf_free(target);
    return op_finish(op, NULL, err);
}

sbx_status sbx_file_rename(sbx_sandbox *sandbox, const char *from, const char *to, int replace,
                           const sbx_call *call, sbx_error *err) {
    const char *name = "sbx_file_rename";
    struct op *op;
    if (to == NULL || to[0] == '\0' || strlen(to) >= LIMIT_PATH)
        return error_set(err, SBX_ERROR_INVALID, "%s: the new path is NULL, empty or too long", name);
    sbx_status status = files_begin(&op, sandbox, name, from, call, 60000, err);
    if (status != SBX_OK) return status;
    struct buf target = BUF_INIT(16 * LIMIT_PATH);
    buf_puts(&target, "files/rename");
    request_query(&target, "from", from);
    request_query(&target, "to", to);
    request_query(&target, "replace", replace ? "true" : "false");
    /* Never sent twice: the second would fail, or move what has come to be there since. */
    return change(
        op,
        &(struct change){
            .method = "POST", .route = "files/rename", .what = "renaming a file", .needs = ENDPOINT_FILES},
        &target, err);
}

sbx_status sbx_file_delete(sbx_sandbox *sandbox, const char *path, int recursive, const sbx_call *call,
                           sbx_error *err) {
    struct op *op;
    sbx_status status = files_begin(&op, sandbox, "sbx_file_delete", path, call, 600000, err);
    if (status != SBX_OK) return status;
    struct buf target = files_target("delete", path);
    if (recursive) request_query(&target, "recursive", "1");
    /* A large tree takes its time, in which nothing is heard. */
    return change(op,
                  &(struct change){.method = "DELETE",
                                   .route = "files/delete",
                                   .what = "deleting a file",
                                   .gone_is_fine = true,
                                   .silence_ms = -1},
                  &target, err);
}

sbx_status sbx_file_mkdir(sbx_sandbox *sandbox, const char *path, const sbx_call *call, sbx_error *err) {
    struct op *op;
    sbx_status status = files_begin(&op, sandbox, "sbx_file_mkdir", path, call, 60000, err);
    if (status != SBX_OK) return status;
    struct buf target = files_target("mkdir", path);
    return change(
        op,
        &(struct change){
            .method = "POST", .route = "files/mkdir", .what = "making a directory", .repeatable = true},
        &target, err);
}
