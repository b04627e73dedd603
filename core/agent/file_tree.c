#include "agent/file_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/escape.h"
#include "agent/etag.h"
#include "agent/file_op.h"
#include "agent/file_remove.h"
#include "util/clock.h"
#include "util/scope.h"
#include "util/testing.h"
#include "util/text.h"
#include "wire/limits.h"

#define SLICE_US 10000 /* of a recursive delete; then other jobs have their turn */

struct deleting {
    struct file_op op;
    bool recursive;
    char *if_match;
    int directory;
    struct file_remove *remove;
};

static void delete_release(struct file_op *op) {
    struct deleting *d = (struct deleting *)op;
    file_remove_free(d->remove);
    if (d->directory >= 0) close(d->directory);
    free(d->if_match);
    *d = (struct deleting){.op = d->op, .directory = -1};
    op->held = false;
}

static bool refused(struct file_error *e, int error, const char *left) {
    if (error != EBUSY) {
        file_op_fail(e, error);
        if (left != NULL)
            text_format(e->detail, sizeof e->detail, "it is left, with what is not deleted yet: %s", left);
        return false;
    }
    return file_op_fail_code(e, WIRE_CONFLICT,
                             "%s is a mount point or in use; it is left, with what is not deleted yet",
                             left != NULL ? left : "it");
}

static bool delete_one(struct deleting *d, const char *name) {
    if (unlinkat(d->directory, name, 0) == 0) return true;
    if (errno == EISDIR && unlinkat(d->directory, name, AT_REMOVEDIR) == 0) return true;
    return refused(&d->op.error, errno == EEXIST ? ENOTEMPTY : errno, NULL);
}

/* The tag is compared, and a single file removed, under the lock that writes take; a tree goes without it. */
static void delete_begin(struct deleting *d) {
    char name[FILE_NAME_SIZE];
    struct stat directory, st;
    d->directory = file_path_parent(&d->op.path, false, name);
    if (d->directory < 0 || fstat(d->directory, &directory) != 0) {
        if (errno == EINVAL) {
            file_op_fail_code(&d->op.error, WIRE_INVALID,
                              "the root, '.' and '..' cannot be deleted; name the file or directory");
        } else {
            file_op_fail(&d->op.error, errno);
        }
        return;
    }
    unsigned place = etag_place(&directory, name);
    etag_lock(place);
    char tag[ETAG_SIZE];
    if (fstatat(d->directory, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        file_op_fail(&d->op.error, errno);
    } else if (etag_format(&st, tag), !etag_if_match(d->if_match, tag)) {
        file_op_fail_code(&d->op.error, WIRE_MISMATCH, "it is %s now", tag);
    } else if (!d->recursive || !S_ISDIR(st.st_mode)) {
        delete_one(d, name);
    } else {
        d->remove = file_remove_new(d->directory, name);
        if (d->remove == NULL) file_op_fail(&d->op.error, ENOMEM);
    }
    etag_unlock(place);
}

static void delete_tree(struct deleting *d) {
    struct buf left = BUF_INIT(4 * LIMIT_PATH);
    int64_t slice = testing_off("files-slices") ? INT64_MAX / 2 : SLICE_US;
    switch (file_remove_some(d->remove, clock_us() + slice, &left)) {
    case FILE_REMOVED:
        break;
    case FILE_REMOVE_MORE:
        d->op.again = true;
        break;
    case FILE_REMOVE_FAILED:
        refused(&d->op.error, errno, left.data != NULL ? left.data : "a part");
        break;
    }
    buf_free(&left);
}

static void delete_work(struct file_op *op) {
    struct deleting *d = (struct deleting *)op;
    op->held = true;
    if (d->remove == NULL) delete_begin(d);
    if (d->remove != NULL) delete_tree(d);
    if (!op->again) delete_release(op);
}

static void delete_done(struct file_op *op) {
    if (op->error.code != WIRE_OK) {
        file_op_answer_error(op);
    } else {
        file_op_answer_path(op, "deleted");
    }
}

void file_tree_delete(struct exchange *x) {
    struct deleting *d = file_op_new(x, sizeof *d, delete_release);
    if (d == NULL) return;
    d->directory = -1;
    d->recursive = http_query_bool(x->request, "recursive", false);
    if (file_op_field(x, "If-Match", &d->if_match)) file_op_run(&d->op, delete_work, delete_done);
}

static void mkdir_work(struct file_op *op) {
    if (file_path_make(&op->path) == 0) return;
    int error = errno;
    struct stat st;
    if (error == ENOTDIR && file_path_stat(&op->path, &st, true) == 0) error = EEXIST;
    file_op_fail(&op->error, error);
}

static void mkdir_done(struct file_op *op) {
    if (op->error.code != WIRE_OK) {
        file_op_answer_error(op);
    } else {
        file_op_answer_path(op, "created");
    }
}

void file_tree_mkdir(struct exchange *x) {
    struct file_op *op = file_op_new(x, sizeof *op, NULL);
    if (op != NULL) file_op_run(op, mkdir_work, mkdir_done);
}

struct renaming {
    struct file_op op; /* its path is `from` */
    struct file_path to;
    bool replace;
};

static void rename_release(struct file_op *op) {
    file_path_free(&((struct renaming *)op)->to);
}

static bool rename_failed(struct renaming *r, int error) {
    struct file_error *e = &r->op.error;
    if (error == EINVAL)
        return file_op_fail_code(
            e, WIRE_INVALID, "a directory cannot be moved into itself, nor the root, '.' or '..' be moved");
    if (error == EXDEV)
        return file_op_fail_code(
            e, WIRE_INVALID,
            "the new name is on another file system; write the file there and delete this one");
    if (error == EBUSY) return file_op_fail_code(e, WIRE_CONFLICT, "a mount point or in use");
    if (error == EEXIST && r->replace) error = ENOTEMPTY;
    file_op_fail(e, error);
    text_format(e->detail, sizeof e->detail, "renamed to %.200s", r->to.text);
    return false;
}

static void rename_work(struct file_op *op) {
    struct renaming *r = (struct renaming *)op;
    char from[FILE_NAME_SIZE], to[FILE_NAME_SIZE];
    struct stat from_st, to_st;
    cleanup_fd int from_dir = file_path_parent(&op->path, false, from);
    cleanup_fd int to_dir = from_dir < 0 ? -1 : file_path_parent(&r->to, false, to);
    if (from_dir < 0 || to_dir < 0 || fstat(from_dir, &from_st) != 0 || fstat(to_dir, &to_st) != 0) {
        rename_failed(r, errno);
        return;
    }
    unsigned a = etag_place(&from_st, from), b = etag_place(&to_st, to);
    etag_lock_two(a, b);
    if (file_path_rename(from_dir, from, to_dir, to, r->replace) != 0) rename_failed(r, errno);
    etag_unlock_two(a, b);
}

static void rename_done(struct file_op *op) {
    struct renaming *r = (struct renaming *)op;
    if (op->error.code != WIRE_OK) {
        file_op_answer_error(op);
        return;
    }
    struct buf json = BUF_INIT(16 * LIMIT_PATH);
    buf_puts(&json, "{\"from\":");
    escape_string(&json, op->path.text, op->path.len);
    buf_puts(&json, ",\"to\":");
    escape_string(&json, r->to.text, r->to.len);
    buf_putc(&json, '}');
    exchange_json(op->x, 200, &json);
}

void file_tree_rename(struct exchange *x) {
    struct renaming *r = file_op_new_for(x, "from", sizeof *r, rename_release);
    if (r == NULL || !file_op_path(x, "to", &r->to)) return;
    r->replace = http_query_bool(x->request, "replace", true);
    file_op_run(&r->op, rename_work, rename_done);
}
