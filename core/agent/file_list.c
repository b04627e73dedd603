#include "agent/file_list.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/escape.h"
#include "agent/file_entry.h"
#include "agent/file_op.h"
#include "util/clock.h"
#include "util/dir.h"
#include "util/text.h"
#include "wire/limits.h"

#define PAGE_BYTES   MIB(8)  /* a page ends here even when it has fewer entries than asked for */
#define ENTRY_ROOM   KIB(32) /* more than any one entry can take */
#define SLICE_US     10000   /* then other jobs have their turn */
#define LOOK_AT_TIME 256     /* entries between two looks at the clock */

/* The page is the `limit` smallest names after `after`. They are kept in a heap with the largest on top, so a
   directory of any size takes the memory of one page. */
struct listing {
    struct file_op op;
    size_t limit;
    struct buf after;
    struct dir dir;
    bool scanned; /* every name has been seen; the heap has become a sorted array */
    char **names;
    size_t count;
    bool more;            /* names were left out */
    size_t written;       /* of the names */
    size_t entries;       /* of them that still exist */
    struct buf json, raw; /* raw: the names that are no text, by their index */
};

static void release(struct file_op *op) {
    struct listing *l = (struct listing *)op;
    dir_close(&l->dir);
    for (size_t i = 0; i < l->count; i++)
        free(l->names[i]);
    free(l->names);
    buf_free(&l->after);
    buf_free(&l->json);
    buf_free(&l->raw);
}

static void sift_down(char **heap, size_t count, size_t at) {
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count) return;
        if (child + 1 < count && strcmp(heap[child + 1], heap[child]) > 0) child++;
        if (strcmp(heap[at], heap[child]) >= 0) return;
        char *t = heap[at];
        heap[at] = heap[child];
        heap[child] = t;
        at = child;
    }
}

static void sift_up(char **heap, size_t at) {
    while (at > 0 && strcmp(heap[(at - 1) / 2], heap[at]) < 0) {
        char *t = heap[at];
        heap[at] = heap[(at - 1) / 2];
        heap[(at - 1) / 2] = t;
        at = (at - 1) / 2;
    }
}

static void sort_heap(char **heap, size_t count) {
    while (count > 1) {
        char *t = heap[0];
        heap[0] = heap[--count];
        heap[count] = t;
        sift_down(heap, count, 0);
    }
}

static bool keep_name(struct listing *l, const char *name) {
    if (l->after.data != NULL && strcmp(name, l->after.data) <= 0) return true;
    bool full = l->count == l->limit;
    if (full) l->more = true;
    if (full && strcmp(name, l->names[0]) >= 0) return true;
    if (!full && (l->count & (l->count - 1)) == 0) {
        size_t cap = l->count == 0 ? 1 : 2 * l->count;
        char **grown = realloc(l->names, cap * sizeof *grown);
        if (grown == NULL) return file_op_fail(&l->op.error, ENOMEM);
        l->names = grown;
    }
    char *copy = strdup(name);
    if (copy == NULL) return file_op_fail(&l->op.error, ENOMEM);
    if (full) {
        free(l->names[0]);
        l->names[0] = copy;
        sift_down(l->names, l->count, 0);
    } else {
        l->names[l->count] = copy;
        sift_up(l->names, l->count++);
    }
    return true;
}

static bool out_of_time(size_t step, int64_t begun) {
    return step % LOOK_AT_TIME == 0 && clock_us() - begun > SLICE_US;
}

/* True when the directory is read to its end. */
static bool scan(struct listing *l) {
    int64_t begun = clock_us();
    for (size_t step = 1;; step++) {
        const struct dir_entry *e = dir_next(&l->dir);
        if (e == NULL) {
            if (l->dir.failed) return file_op_fail(&l->op.error, errno);
            sort_heap(l->names, l->count);
            return true;
        }
        if (!keep_name(l, e->name)) return false;
        if (out_of_time(step, begun)) {
            l->op.again = true;
            return false;
        }
    }
}

static void write_entry(struct listing *l, const char *name) {
    struct stat st;
    /* Gone since it was read: it is not there, so it is not listed. */
    if (fstatat(l->dir.fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return;
    size_t len = strlen(name);
    if (l->entries > 0) buf_putc(&l->json, ',');
    file_entry_json(&l->json, l->op.path.text, file_path_trimmed(&l->op.path), name, len, &st);
    if (!file_entry_is_text(name, len)) {
        buf_printf(&l->raw, "%s\"%zu\":", l->raw.len > 0 ? "," : "", l->entries);
        file_entry_escape(&l->raw, name, len);
    }
    l->entries++;
}

static void write_end(struct listing *l) {
    const char *last = l->written > 0 ? l->names[l->written - 1] : NULL;
    bool more = last != NULL && (l->more || l->written < l->count);
    buf_printf(&l->json, "],\"truncated\":%s,\"next\":%s", more ? "true" : "false", more ? "" : "null");
    if (more) {
        if (file_entry_is_text(last, strlen(last))) {
            escape_string(&l->json, last, strlen(last));
        } else {
            /* No name begins with a slash, so this marks an escaped one. */
            struct buf escaped = BUF_INIT(4 * 256);
            file_entry_escape(&escaped, last, strlen(last));
            buf_puts(&l->json, "\"/");
            if (escaped.len > 1) buf_append(&l->json, escaped.data + 1, escaped.len - 1);
            buf_free(&escaped);
        }
    }
    if (l->raw.len > 0) {
        buf_puts(&l->json, ",\"escaped_names\":{");
        buf_append(&l->json, l->raw.data, l->raw.len);
        buf_putc(&l->json, '}');
    }
    buf_putc(&l->json, '}');
    if (l->json.failed || l->raw.failed) file_op_fail(&l->op.error, ENOMEM);
}

static void write_entries(struct listing *l) {
    int64_t begun = clock_us();
    while (l->written < l->count && l->json.len + l->raw.len < PAGE_BYTES) {
        write_entry(l, l->names[l->written++]);
        if (out_of_time(l->written, begun)) {
            l->op.again = true;
            return;
        }
    }
    write_end(l);
}

static void work(struct file_op *op) {
    struct listing *l = (struct listing *)op;
    if (!op->held) {
        if (!dir_open(&l->dir, file_path_open(&op->path, O_RDONLY | O_DIRECTORY))) {
            file_op_fail(&op->error, errno);
            return;
        }
        op->held = true;
        buf_puts(&l->json, "{\"entries\":[");
    }
    if (!l->scanned) l->scanned = scan(l);
    if (l->scanned) write_entries(l);
}

static void done(struct file_op *op) {
    struct listing *l = (struct listing *)op;
    if (op->error.code != WIRE_OK) {
        file_op_answer_error(op);
    } else {
        exchange_json(op->x, 200, &l->json);
    }
}

/* A name as `next` gave it: as it is, or escaped behind a slash. */
static bool read_after(struct exchange *x, struct buf *after) {
    if (!http_query(x->request, "after", after)) return true;
    if (after->len > 0 && after->data[0] == '/') {
        buf_consume(after, 1);
        after->len = text_percent_decode(after->data, after->len);
        after->data[after->len] = '\0';
    }
    if (!after->failed && memchr(after->data, '\0', after->len) == NULL) return true;
    exchange_error(x, WIRE_INVALID, "the query parameter 'after' must be the 'next' of an earlier page");
    return false;
}

void file_list_start(struct exchange *x) {
    uint64_t limit = LIMIT_LIST_PAGE;
    if (file_op_number(x, "limit", &limit) < 0) return;
    if (limit < 1 || limit > LIMIT_LIST_PAGE_MAX) {
        exchange_error(x, WIRE_INVALID, "the query parameter 'limit' must be from 1 to %d",
                       LIMIT_LIST_PAGE_MAX);
        return;
    }
    struct listing *l = file_op_new(x, sizeof *l, release);
    if (l == NULL) return;
    l->limit = (size_t)limit;
    buf_init(&l->after, 4 * 256);
    buf_init(&l->json, PAGE_BYTES + 2 * ENTRY_ROOM + PAGE_BYTES);
    buf_init(&l->raw, PAGE_BYTES + ENTRY_ROOM);
    if (read_after(x, &l->after)) file_op_run(&l->op, work, done);
}
