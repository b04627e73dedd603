#include "agent/file_read.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "agent/etag.h"
#include "agent/file_op.h"
#include "util/scope.h"
#include "util/testing.h"
#include "wire/limits.h"

/* Up to here a file is read in the same job that opens it and is answered with what was really read, whatever
   size it claims: the files of /sys say 4096 and those of /proc say 0. */
#define AT_ONCE KIB(64)

#define UNKNOWN INT64_MAX
#define PIECES  8 /* of one file in one turn of the loop, so that the others get theirs */

struct reading {
    struct file_op op;
    uint64_t offset, length;
    bool bounded; /* length was given */
    bool head;
    char *if_match, *if_none_match;

    int fd;
    int64_t at, end; /* the next byte to read; the first one not to be read, or UNKNOWN: to the end */
    bool known;      /* end is what the file has, so Content-Length can be said */
    bool finished;   /* nothing is left to be read */
    bool unchanged;  /* 304 */
    bool in_memory;  /* on a file system without a disk */
    size_t piece;    /* how much is read next */
    struct later more;
    char tag[ETAG_SIZE];
    char *data;
    size_t data_len, data_cap;
};

static void release(struct file_op *op) {
    struct reading *r = (struct reading *)op;
    if (r->fd >= 0) close(r->fd);
    free(r->data);
    free(r->if_match);
    free(r->if_none_match);
}

/* Nothing but a regular file is opened: opening a FIFO would wait, opening a device may do something.
   O_NONBLOCK covers a file that was replaced in between, and is for the files of /proc that wait for news. */
static bool open_regular(struct reading *r, struct stat *st) {
    struct file_error *e = &r->op.error;
    if (file_path_stat(&r->op.path, st, true) != 0) return file_op_fail(e, errno);
    bool guarded = !testing_off("files-regular");
    if (S_ISDIR(st->st_mode)) return file_op_fail(e, EISDIR);
    if (guarded && !S_ISREG(st->st_mode)) return file_op_fail_as(e, WIRE_NOT_REGULAR);
    r->fd = file_path_open(&r->op.path, O_RDONLY | (guarded ? O_NONBLOCK : 0));
    if (r->fd < 0 || fstat(r->fd, st) != 0) return file_op_fail(e, errno);
    r->op.held = true;
    if (S_ISDIR(st->st_mode)) return file_op_fail(e, EISDIR);
    if (guarded && !S_ISREG(st->st_mode)) return file_op_fail_as(e, WIRE_NOT_REGULAR);
    return true;
}

static void advance(struct reading *r, size_t got) {
    r->at += (int64_t)got;
    if (got == 0 || r->at >= r->end) r->finished = true;
}

/* One read; false on an error other than "nothing now", which ends a file like the end does. */
static bool read_piece(struct reading *r, size_t want) {
    ssize_t got;
    do
        got = pread(r->fd, r->data + r->data_len, want, r->at);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno != EAGAIN) return file_op_fail(&r->op.error, errno);
    r->data_len += got > 0 ? (size_t)got : 0;
    advance(r, got > 0 ? (size_t)got : 0);
    return true;
}

static bool make_room(struct reading *r, size_t size) {
    if (r->data_cap >= size) return true;
    free(r->data);
    r->data_cap = 0;
    r->data = malloc(size);
    if (r->data == NULL) return file_op_fail(&r->op.error, ENOMEM);
    r->data_cap = size;
    return true;
}

static size_t piece_size(const struct reading *r, size_t most) {
    int64_t left = r->end - r->at;
    return left < (int64_t)most ? (size_t)left : most;
}

static void set_range(struct reading *r, const struct stat *st, bool generated) {
    r->known = !generated && st->st_size > 0;
    if (testing_off("files-pseudo")) r->known = true;
    r->at = (int64_t)r->offset;
    r->end = r->known ? st->st_size : UNKNOWN;
    if (r->bounded && (uint64_t)(INT64_MAX - r->at) > r->length && r->at + (int64_t)r->length < r->end)
        r->end = r->at + (int64_t)r->length;
    if (r->end < r->at) r->end = r->at;
    r->finished = r->at == r->end;
}

static void open_work(struct file_op *op) {
    struct reading *r = (struct reading *)op;
    struct stat st;
    if (!open_regular(r, &st)) return;
    bool generated = !etag_exists(r->fd);
    if (!generated) etag_format(&st, r->tag);
    if (!etag_if_match(r->if_match, r->tag)) {
        file_op_fail_code(&op->error, WIRE_MISMATCH, "it is %s now",
                          r->tag[0] != '\0' ? r->tag : "without one");
        return;
    }
    if (!etag_if_none_match(r->if_none_match, r->tag)) {
        r->unchanged = true;
        return;
    }
    set_range(r, &st, generated);
    if (r->known && r->head) return;
    struct statfs fs;
    r->in_memory = fstatfs(r->fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
    size_t room = piece_size(r, AT_ONCE);
    if (!make_room(r, room > 0 ? room : 1)) return;
    while (!r->finished && r->data_len < room)
        if (!read_piece(r, room - r->data_len)) return;
    /* What was read is the whole answer; nothing is held any more. */
    if (r->finished) {
        r->end = r->at;
        close(r->fd);
        r->fd = -1;
        op->held = false;
    }
}

static void piece_done(struct file_op *op);

static void piece_work(struct file_op *op) {
    struct reading *r = (struct reading *)op;
    if (make_room(r, LIMIT_FILE_CHUNK)) read_piece(r, piece_size(r, LIMIT_FILE_CHUNK));
}

/* Sends what was read. False: that was the last of it. */
static bool send_piece(struct reading *r, char *data, size_t len) {
    struct exchange *x = r->op.x;
    /* Once the length was promised, a file that has become shorter can only be answered by losing the
     * connection. */
    if (r->op.error.code != WIRE_OK || (r->finished && r->known && r->at < r->end)) {
        exchange_abort(x);
        return false;
    }
    struct iovec part = {.iov_base = data, .iov_len = len};
    exchange_send(x, &part, 1);
    if (r->finished) exchange_end(x);
    return !r->finished;
}

static void next_pieces(struct exchange *x);

static void next_later(struct later *l) {
    struct reading *r = (struct reading *)((char *)l - offsetof(struct reading, more));
    next_pieces(r->op.x);
}

/* Reads what can be had without waiting: what a file system with a disk has in its cache, and says so, and
   what lies in memory anyway. Other file systems (FUSE, NFS, overlays) may ask somebody even then, and do not
   know RWF_NOWAIT. 0 and -1: a worker finds out. */
static ssize_t read_here(const struct reading *r, char *to, size_t want) {
    struct iovec iov = {.iov_base = to, .iov_len = want};
    if (r->in_memory || testing_off("files-nowait")) return pread(r->fd, to, want, r->at);
    return syscall(SYS_preadv2, r->fd, &iov, 1, (long)r->at, 0L, RWF_NOWAIT);
}

/* Sends right from here what need not be waited for, through a buffer that stays in the processor's cache:
   for a reader that keeps up this is faster than sendfile, which handles each page, and than a worker. */
static void next_pieces(struct exchange *x) {
    static char piece[LIMIT_FILE_CHUNK];
    struct reading *r = x->ctx;
    if (r->op.running || r->finished) return;
    for (int n = 0; exchange_pending(x) < EXCHANGE_LOW; n++) {
        if (n == PIECES) {
            loop_later(&r->more, next_later);
            return;
        }
        ssize_t got = read_here(r, piece, piece_size(r, r->piece));
        if (got <= 0) {
            file_op_run(&r->op, piece_work, piece_done);
            return;
        }
        advance(r, (size_t)got);
        if (!send_piece(r, piece, (size_t)got)) return;
        /* A reader that does not keep up gets little at a time, so that little of it waits in memory. */
        r->piece = exchange_pending(x) > 0 ? AT_ONCE : 2 * r->piece;
        if (r->piece > sizeof piece) r->piece = sizeof piece;
    }
}

static void piece_done(struct file_op *op) {
    struct reading *r = (struct reading *)op;
    bool more = send_piece(r, r->data, r->data_len);
    /* A slow reader's connection holds what it has not taken; there is no need for a second copy here. */
    free(r->data);
    r->data = NULL;
    r->data_len = r->data_cap = 0;
    if (more && op->x != NULL) next_pieces(op->x);
}

static void open_done(struct file_op *op) {
    struct reading *r = (struct reading *)op;
    struct exchange *x = op->x;
    if (op->error.code != WIRE_OK) {
        file_op_answer_error(op);
        return;
    }
    if (r->tag[0] != '\0') exchange_header(x, "ETag", r->tag);
    if (r->unchanged) {
        exchange_empty(x, 304);
        return;
    }
    int64_t length = -1;
    if (r->finished) {
        length = (int64_t)r->data_len;
    } else if (r->known) {
        length = r->end - (int64_t)r->offset;
    }
    exchange_begin(x, 200, "application/octet-stream", length);
    if (r->head) {
        exchange_end(x);
        return;
    }
    piece_done(op);
}

static void on_close(struct exchange *x) {
    struct reading *r = x->ctx;
    loop_unlater(&r->more);
    file_op_close(x);
}

void file_read_start(struct exchange *x) {
    uint64_t offset = 0, length = 0;
    int bounded;
    if (file_op_number(x, "offset", &offset) < 0 || (bounded = file_op_number(x, "length", &length)) < 0)
        return;
    struct reading *r = file_op_new(x, sizeof *r, release);
    if (r == NULL) return;
    r->fd = -1;
    r->offset = offset;
    r->length = length;
    r->piece = AT_ONCE;
    r->bounded = bounded > 0;
    r->head = exchange_is_head(x);
    if (!file_op_field(x, "If-Match", &r->if_match) || !file_op_field(x, "If-None-Match", &r->if_none_match))
        return;
    x->on_drain = next_pieces;
    x->on_close = on_close;
    file_op_run(&r->op, open_work, open_done);
}
