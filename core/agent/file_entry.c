#include "agent/file_entry.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "agent/escape.h"
#include "agent/etag.h"
#include "agent/file_op.h"
#include "util/scope.h"
#include "util/text.h"
#include "wire/limits.h"

#define ENTRY_MAX (16 * LIMIT_PATH)

static const char *type_name(mode_t mode) {
    if (S_ISDIR(mode)) return "dir";
    return S_ISLNK(mode) ? "symlink" : "file";
}

bool file_entry_json(struct buf *out, const char *dir, size_t dir_len, const char *name, size_t name_len,
                     const struct stat *st) {
    buf_puts(out, "{\"name\":");
    escape_string(out, name, name_len);
    buf_puts(out, ",\"path\":\"");
    escape_part(out, dir, dir_len);
    if (name_len > 0) {
        buf_putc(out, '/');
        escape_part(out, name, name_len);
    }
    long long mtime_ms = (long long)st->st_mtim.tv_sec * 1000 + st->st_mtim.tv_nsec / 1000000;
    return buf_printf(out, "\",\"type\":\"%s\",\"size\":%llu,\"mtime_ms\":%lld,\"mode\":\"%o\"}",
                      type_name(st->st_mode), (unsigned long long)st->st_size, mtime_ms,
                      (unsigned)st->st_mode & 07777);
}

bool file_entry_is_text(const char *name, size_t len) {
    /* The escaper puts U+FFFD where a byte is bad; a name that has none of them already and gets one is no
     * text. */
    struct buf escaped = BUF_INIT(8 * LIMIT_PATH);
    bool same = escape_part(&escaped, name, len);
    size_t replaced = 0, had = 0;
    for (size_t i = 0; i + 3 <= escaped.len; i++)
        replaced +=
            escaped.data[i] == '\xEF' && escaped.data[i + 1] == '\xBF' && escaped.data[i + 2] == '\xBD';
    for (size_t i = 0; i + 3 <= len; i++)
        had += name[i] == '\xEF' && name[i + 1] == '\xBF' && name[i + 2] == '\xBD';
    buf_free(&escaped);
    return same && replaced == had;
}

static bool is_plain(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '~';
}

bool file_entry_escape(struct buf *out, const char *name, size_t len) {
    buf_putc(out, '"');
    for (size_t i = 0; i < len; i++) {
        if (is_plain(name[i])) {
            buf_putc(out, name[i]);
        } else {
            buf_printf(out, "%%%02X", (unsigned char)name[i]);
        }
    }
    return buf_putc(out, '"');
}

struct looking {
    struct file_op op;
    char *if_none_match;
    struct stat st;
    char tag[ETAG_SIZE];
};

static void release(struct file_op *op) {
    free(((struct looking *)op)->if_none_match);
}

static void work(struct file_op *op) {
    struct looking *l = (struct looking *)op;
    cleanup_fd int fd = file_path_open(&op->path, O_PATH | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &l->st) != 0) {
        file_op_fail(&op->error, errno);
    } else if (etag_exists(fd)) {
        etag_format(&l->st, l->tag);
    }
}

static void done(struct file_op *op) {
    struct looking *l = (struct looking *)op;
    if (op->error.code != WIRE_OK) {
        file_op_answer_error(op);
        return;
    }
    if (l->tag[0] != '\0') exchange_header(op->x, "ETag", l->tag);
    if (!etag_if_none_match(l->if_none_match, l->tag)) {
        exchange_empty(op->x, 304);
        return;
    }
    struct buf json = BUF_INIT(ENTRY_MAX);
    size_t len;
    const char *name = file_path_name(&op->path, &len);
    size_t dir_len = len > 0 ? (size_t)(name - op->path.text) - 1 : op->path.len;
    file_entry_json(&json, op->path.text, dir_len, name, len, &l->st);
    exchange_json(op->x, 200, &json);
}

void file_entry_start(struct exchange *x) {
    struct looking *l = file_op_new(x, sizeof *l, release);
    if (l == NULL || !file_op_field(x, "If-None-Match", &l->if_none_match)) return;
    file_op_run(&l->op, work, done);
}
