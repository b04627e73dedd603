#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/client.h"
#include "client/fetch.h"
#include "client/files.h"
#include "client/sandbox.h"
#include "client/signal_guard.h"
#include "util/testing.h"
#include "util/text.h"
#include "wire/limits.h"

#define READ_MAX    ((uint64_t)1 << 30)
#define LARGE       MIB(4)
#define PROGRESS_MS testing_ms(60000) /* a transfer of a whole file that does not move for so long fails */

/* ---- Into memory */

struct read_call {
    struct fetch fetch;
    struct buf data;
    bool placed; /* data has room, and the length, of all that will come */
};

static void read_ended(struct op *op, sbx_status status) {
    struct read_call *r = op->ctx;
    (void)status;
    fetch_free(&r->fetch);
    buf_free(&r->data);
    free(r);
}

/* Hundreds of megabytes of fresh memory, page by page, would cost as much as receiving them. */
static void prefer_large_pages(char *data, size_t len) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)data + page - 1) & ~(page - 1), end = ((uintptr_t)data + len) & ~(page - 1);
    if (len >= LARGE && end > begin) madvise(data + (begin - (uintptr_t)data), end - begin, MADV_HUGEPAGE);
}

static bool read_expect(struct fetch *f, uint64_t size) {
    struct read_call *r = f->ctx;
    if (r->placed) return true;
    size_t len = (size_t)size - r->data.len;
    char *room = buf_reserve(&r->data, len);
    if (room == NULL) {
        op_fail_memory(f->op);
        return false;
    }
    prefer_large_pages(room, len);
    r->data.len = (size_t)size;
    r->placed = true;
    return true;
}

static bool read_take(struct fetch *f, const char *data, size_t len, uint64_t at) {
    struct read_call *r = f->ctx;
    if (r->placed && at + len <= r->data.len) {
        memcpy(r->data.data + at, data, len);
        return true;
    }
    if (!r->placed && buf_append(&r->data, data, len)) return true;
    op_fail_memory(f->op);
    return false;
}

static bool read_restart(struct fetch *f) {
    struct read_call *r = f->ctx;
    buf_clear(&r->data);
    r->placed = false;
    return true;
}

static void read_done(struct fetch *f) {
    struct read_call *r = f->ctx;
    f->op->out.bytes = sandbox_bytes(&r->data);
    if (f->op->out.bytes == NULL) {
        op_fail_memory(f->op);
    } else {
        op_done(f->op, SBX_OK);
    }
}

sbx_status sbx_file_read(sbx_bytes **out, sbx_sandbox *sandbox, const char *path, uint64_t offset,
                         uint64_t length, const sbx_call *call, sbx_error *err) {
    const char *name = "sbx_file_read";
    if (out != NULL) *out = NULL;
    if (out == NULL && !files_has_queue(call))
        return error_set(err, SBX_ERROR_INVALID, "%s: out is NULL", name);
    if (length > READ_MAX)
        return error_set(err, SBX_ERROR_TOO_LARGE,
                         "%s: length is %llu, over the limit of %llu: use sbx_file_download", name,
                         (unsigned long long)length, (unsigned long long)READ_MAX);
    struct op *op;
    sbx_status status = files_begin(&op, sandbox, name, path, call, 60000, err);
    if (status != SBX_OK) return status;
    struct read_call *r = calloc(1, sizeof *r);
    if (r != NULL) {
        op->ctx = r;
        op->end = read_ended;
        buf_init(&r->data, (size_t)READ_MAX);
        r->fetch = (struct fetch){.op = op,
                                  .path = strdup(path),
                                  .offset = offset,
                                  .length = length,
                                  .max = READ_MAX,
                                  .too_large = "use sbx_file_download",
                                  .expect = read_expect,
                                  .take = read_take,
                                  .restart = read_restart,
                                  .done = read_done,
                                  .ctx = r};
    }
    if (r == NULL || r->fetch.path == NULL) {
        op_fail_memory(op);
    } else {
        fetch_start(&r->fetch);
    }
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status == SBX_OK) *out = done.bytes;
    return status;
}

/* ---- Into a file of this computer. It is written beside its place and renamed when it is complete. */

struct download {
    struct fetch fetch;
    int directory, fd;
    char *local;      /* as the caller gave it */
    const char *name; /* the last part of it */
    char temporary[40];
};

static void download_free(struct download *d) {
    if (d->temporary[0] != '\0') unlinkat(d->directory, d->temporary, 0);
    if (d->fd >= 0) close(d->fd);
    if (d->directory >= 0) close(d->directory);
    fetch_free(&d->fetch);
    free(d->local);
    free(d);
}

static void download_ended(struct op *op, sbx_status status) {
    (void)status;
    download_free(op->ctx);
}

static void download_failed(struct download *d, int error_number) {
    sbx_error error;
    files_local_error(&error, error_number, d->fetch.op->name, d->local);
    op_fail(d->fetch.op, &error);
}

static bool download_take(struct fetch *f, const char *data, size_t len, uint64_t at) {
    struct download *d = f->ctx;
    if (signal_guard_write(d->fd, data, len, at)) return true;
    download_failed(d, errno);
    return false;
}

static bool download_restart(struct fetch *f) {
    struct download *d = f->ctx;
    if (ftruncate(d->fd, 0) == 0) return true;
    download_failed(d, errno);
    return false;
}

static void download_done(struct fetch *f) {
    struct download *d = f->ctx;
    int fd = d->fd;
    d->fd = -1;
    if (close(fd) != 0 || renameat(d->directory, d->temporary, d->directory, d->name) != 0) {
        download_failed(d, errno);
        return;
    }
    d->temporary[0] = '\0';
    op_done(f->op, SBX_OK);
}

/* The directory stays open: the program may change its own while an asynchronous call runs. */
static int open_directory(struct download *d) {
    char *slash = strrchr(d->local, '/');
    d->name = slash != NULL ? slash + 1 : d->local;
    if (d->name[0] == '\0') return EISDIR;
    char first = slash != NULL ? slash[0] : '\0';
    if (slash != NULL) *slash = '\0';
    const char *path = slash == NULL ? "." : slash == d->local ? "/" : d->local;
    d->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = d->directory < 0 ? errno : 0;
    if (slash != NULL) *slash = first;
    return error;
}

/* A regular file keeps its permissions; a link is replaced, not followed; anything else stays as it is. 0 or
 * an errno. */
static int open_target(struct download *d) {
    struct stat st;
    char hex[25];
    int error = open_directory(d);
    if (error != 0) return error;
    bool there = fstatat(d->directory, d->name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && S_ISDIR(st.st_mode)) return EISDIR;
    if (there && !S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode)) return EEXIST;
    if (!text_random_hex(12, hex)) return EAGAIN;
    snprintf(d->temporary, sizeof d->temporary, ".sbx-%s", hex);
    d->fd = openat(d->directory, d->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (d->fd >= 0 && (!there || !S_ISREG(st.st_mode) || fchmod(d->fd, st.st_mode & 0777) == 0)) return 0;
    error = errno;
    if (d->fd < 0) d->temporary[0] = '\0';
    return error;
}

static sbx_status download_new(struct download **out, const char *path, const char *local, const char *name,
                               sbx_error *err) {
    if (local == NULL || local[0] == '\0')
        return error_set(err, SBX_ERROR_INVALID, "%s: local_path is %s", name,
                         local == NULL ? "NULL" : "empty");
    struct download *d = calloc(1, sizeof *d);
    if (d == NULL) return error_memory(err);
    d->fd = d->directory = -1;
    d->local = strdup(local);
    d->fetch.path = strdup(path);
    int error = d->local == NULL || d->fetch.path == NULL ? ENOMEM : open_target(d);
    if (error == 0) {
        *out = d;
        return SBX_OK;
    }
    download_free(d);
    if (error == ENOMEM) return error_memory(err);
    return files_local_error(err, error, name, local);
}

sbx_status sbx_file_download(sbx_sandbox *sandbox, const char *path, const char *local_path,
                             const sbx_call *call, sbx_error *err) {
    const char *name = "sbx_file_download";
    struct op *op;
    struct download *d = NULL;
    sbx_status status = sandbox_check(sandbox, name, err);
    if (status == SBX_OK) status = download_new(&d, path != NULL ? path : "", local_path, name, err);
    if (status == SBX_OK) status = files_begin(&op, sandbox, name, path, call, SBX_NO_TIMEOUT, err);
    if (status != SBX_OK) {
        if (d != NULL) download_free(d);
        return status;
    }
    char *own = d->fetch.path;
    d->fetch = (struct fetch){.op = op,
                              .path = own,
                              .max = UINT64_MAX,
                              .too_large = "",
                              .silence_ms = PROGRESS_MS,
                              .take = download_take,
                              .restart = download_restart,
                              .done = download_done,
                              .ctx = d};
    op->ctx = d;
    op->end = download_ended;
    fetch_start(&d->fetch);
    return op_finish(op, NULL, err);
}
