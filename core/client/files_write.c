#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/client.h"
#include "client/files.h"
#include "client/files_parts.h"
#include "client/log.h"
#include "client/request.h"
#include "client/sandbox.h"
#include "util/testing.h"
#include "wire/limits.h"

#define PROGRESS_MS testing_ms(60000) /* as in files_read.c */
#define TRIES       4
#define TAG_MAX     200

/* A whole file on its way. Without conditions, sending it twice is the same as once. With one, a second
   sending after a lost reply is still safe (the condition is checked again), but when it is refused nobody
   can say who changed the file. */
struct put {
    char *target;
    char *condition; /* a header line; NULL = none */
    bool in_parts;   /* see files_parts.h */
    struct parts parts;
    const void *data;
    void *copy; /* of a call that outlives the function */
    int fd;     /* of an upload; else -1 */
    uint64_t len, at;
    char *local;
    int local_error; /* errno of reading the local file; -1: it has become shorter */
    unsigned tries;
};

static void put_free(struct put *p) {
    if (p == NULL) return;
    if (p->fd >= 0) close(p->fd);
    free(p->target);
    free(p->condition);
    free(p->copy);
    free(p->local);
    free(p);
}

static void put_ended(struct op *op, sbx_status status) {
    struct put *p = op->ctx;
    (void)status;
    if (p->in_parts) parts_end(&p->parts);
    put_free(p);
}

/* Runs with the client's lock, like every callback; a local file on a slow disk slows the client's other
 * calls. */
static size_t read_local_at(void *ctx, char *into, size_t len, uint64_t at) {
    struct put *p = ctx;
    if (len == 0) return 0;
    ssize_t got;
    do
        got = pread(p->fd, into, len, (off_t)at);
    while (got < 0 && errno == EINTR);
    if (got > 0) return (size_t)got;
    p->local_error = got < 0 ? errno : -1;
    return TRANSFER_READ_FAILED;
}

static size_t read_local(void *ctx, char *into, size_t len) {
    struct put *p = ctx;
    if (p->len - p->at < len) len = (size_t)(p->len - p->at);
    size_t got = read_local_at(p, into, len, p->at);
    if (got != TRANSFER_READ_FAILED) p->at += got;
    return got;
}

static void put_done(struct op *op, struct request_reply *reply, void *ctx) {
    (void)reply;
    (void)ctx;
    op_done(op, SBX_OK);
}

static void put_send(struct op *op);

static void put_failed(struct op *op, const sbx_error *error, void *ctx) {
    struct put *p = ctx;
    bool lost = error->http_status == 0 &&
                (error->code == SBX_ERROR_CONNECTION || error->code == SBX_ERROR_UNKNOWN_OUTCOME);
    bool again = lost && p->tries < TRIES && (p->fd >= 0 || p->condition != NULL || p->in_parts);
    if (p->local_error > 0) {
        sbx_error local;
        files_local_error(&local, p->local_error, op->name, p->local);
        op_fail(op, &local);
    } else if (p->local_error < 0) {
        op_failf(op, SBX_ERROR_CONFLICT, "%s: %s on this computer became shorter while it was read", op->name,
                 p->local);
    } else if (again) {
        put_send(op);
    } else if (p->condition != NULL && p->tries > 1 && (lost || error->code == SBX_ERROR_MISMATCH)) {
        op_failf(op, SBX_ERROR_UNKNOWN_OUTCOME,
                 "%s: the reply was lost, and now the file is another one: by this call or by somebody else",
                 op->name);
    } else {
        op_fail(op, error);
    }
}

static void put_send(struct op *op) {
    struct put *p = op->ctx;
    p->tries++;
    p->at = 0;
    if (p->in_parts) {
        parts_start(&p->parts);
        return;
    }
    struct request_spec spec = {.method = "PUT",
                                .log_route = "files/write",
                                .what = "writing a file",
                                .target = p->target,
                                .content_type = "application/octet-stream",
                                .body_len = p->len,
                                .needs = p->condition != NULL ? ENDPOINT_FILES : 0,
                                .repeatable = p->condition == NULL,
                                .silence_ms = PROGRESS_MS,
                                .done = put_done,
                                .on_error = put_failed,
                                .ctx = p};
    if (p->condition != NULL) spec.headers[0] = p->condition;
    if (p->fd >= 0) {
        spec.read = read_local;
        spec.fresh = p->tries > 1;
    } else {
        spec.body = p->data;
    }
    request_start(op, &spec);
}

/* ---- From the caller's words to a put */

static char *condition_line(const sbx_write_options *o) {
    char line[TAG_MAX + 32];
    if (o->if_absent) return strdup("If-None-Match: *");
    snprintf(line, sizeof line, "If-Match: %s", o->if_match);
    return strdup(line);
}

static sbx_status check_options(const sbx_write_options *o, const char *name, sbx_error *err) {
    if (o->mode < 0 || o->mode > 07777)
        return error_set(err, SBX_ERROR_INVALID, "%s: mode is 0%o: give permission bits, at most 07777", name,
                         (unsigned)o->mode);
    if (o->if_match == NULL) return SBX_OK;
    if (o->if_absent)
        return error_set(err, SBX_ERROR_INVALID, "%s: if_match and if_absent exclude each other", name);
    size_t len = strlen(o->if_match);
    bool plain = len > 0 && len < TAG_MAX;
    for (size_t i = 0; plain && i < len; i++)
        plain = (unsigned char)o->if_match[i] > 0x20 && (unsigned char)o->if_match[i] < 0x7f;
    if (plain) return SBX_OK;
    return error_set(err, SBX_ERROR_INVALID, "%s: if_match is no entity tag: give the etag of sbx_file_stat",
                     name);
}

/* Fills what the path and the options say. */
static sbx_status put_describe(struct put *p, const char *path, const sbx_write_options *options,
                               const char *name, sbx_error *err) {
    sbx_write_options o;
    sbx_status status = OPTIONS_COPY(&o, options, no_parents, "sbx_write_options", err);
    if (status == SBX_OK) status = check_options(&o, name, err);
    if (status != SBX_OK) return status;
    struct buf target = files_target("write", path);
    if (o.mode != 0) {
        char mode[16];
        snprintf(mode, sizeof mode, "%o", (unsigned)o.mode);
        request_query(&target, "mode", mode);
    }
    if (o.no_parents) request_query(&target, "mkdir", "false");
    bool conditional = o.if_match != NULL || o.if_absent;
    if (!target.failed) p->target = buf_take(&target);
    buf_free(&target);
    if (conditional) p->condition = condition_line(&o);
    return p->target == NULL || (conditional && p->condition == NULL) ? error_memory(err) : SBX_OK;
}

/* The rest of both functions; takes p over. */
static sbx_status put_run(struct put *p, sbx_sandbox *sandbox, const char *name, const char *path,
                          const sbx_write_options *options, const sbx_call *call, int64_t default_timeout_ms,
                          sbx_error *err) {
    struct op *op;
    sbx_status status = put_describe(p, path != NULL ? path : "", options, name, err);
    if (status == SBX_OK) status = files_begin(&op, sandbox, name, path, call, default_timeout_ms, err);
    if (status != SBX_OK) {
        put_free(p);
        return status;
    }
    op->ctx = p;
    op->end = put_ended;
    if ((sandbox->endpoint.features & ENDPOINT_FILES) == 0)
        log_event(sandbox->client, SBX_LOG_WARNING, "file.written_in_place", "id", sandbox->id, NULL);
    p->in_parts = parts_pay(sandbox, p->len);
    if (p->in_parts)
        p->parts = (struct parts){.op = op,
                                  .target = p->target,
                                  .condition = p->condition,
                                  .len = p->len,
                                  .data = p->data,
                                  .read = read_local_at,
                                  .done = put_done,
                                  .failed = put_failed,
                                  .ctx = p};
    put_send(op);
    return op_finish(op, NULL, err);
}

sbx_status sbx_file_write(sbx_sandbox *sandbox, const char *path, const void *data, size_t len,
                          const sbx_write_options *options, const sbx_call *call, sbx_error *err) {
    const char *name = "sbx_file_write";
    sbx_status status = sandbox_check(sandbox, name, err);
    if (status != SBX_OK) return status;
    if (data == NULL && len > 0)
        return error_set(err, SBX_ERROR_INVALID, "%s: data is NULL and len is %zu", name, len);
    struct put *p = calloc(1, sizeof *p);
    if (p == NULL) return error_memory(err);
    p->fd = -1;
    p->len = len;
    p->data = len > 0 ? data : "";
    if (len > 0 && files_has_queue(call)) {
        p->copy = malloc(len);
        if (p->copy == NULL) {
            put_free(p);
            return error_memory(err);
        }
        p->data = memcpy(p->copy, data, len);
    }
    return put_run(p, sandbox, name, path, options, call, 60000, err);
}

/* 0 or an errno. O_NONBLOCK: a FIFO must not make the caller wait. */
static int open_source(struct put *p, const char *path) {
    struct stat st;
    p->fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (p->fd < 0 || fstat(p->fd, &st) != 0) return errno;
    if (S_ISDIR(st.st_mode)) return EISDIR;
    if (!S_ISREG(st.st_mode)) return EINVAL;
    p->len = (uint64_t)st.st_size;
    return 0;
}

sbx_status sbx_file_upload(sbx_sandbox *sandbox, const char *local_path, const char *path,
                           const sbx_write_options *options, const sbx_call *call, sbx_error *err) {
    const char *name = "sbx_file_upload";
    sbx_status status = sandbox_check(sandbox, name, err);
    if (status != SBX_OK) return status;
    if (local_path == NULL || local_path[0] == '\0')
        return error_set(err, SBX_ERROR_INVALID, "%s: local_path is %s", name,
                         local_path == NULL ? "NULL" : "empty");
    struct put *p = calloc(1, sizeof *p);
    if (p == NULL) return error_memory(err);
    p->fd = -1;
    p->local = strdup(local_path);
    int error = p->local == NULL ? ENOMEM : open_source(p, local_path);
    if (error != 0) {
        put_free(p);
        return error == ENOMEM ? error_memory(err) : files_local_error(err, error, name, local_path);
    }
    return put_run(p, sandbox, name, path, options, call, SBX_NO_TIMEOUT, err);
}
