#include "agent/file_write.h"

#include <stdlib.h>
#include <string.h>

#include "agent/escape.h"
#include "agent/file_left.h"
#include "agent/file_op.h"
#include "agent/file_put.h"
#include "util/testing.h"
#include "util/text.h"
#include "wire/limits.h"

/* A file in memory is written on the loop, straight from what the connection has read; one on a disk might
   keep the loop waiting, so body bytes go to the workers in blocks. Blocks are held only while a job of their
   upload waits or runs, so a slow sender holds none. While one is being written another is filled; then the
   connection is not read. When all uploads together hold BLOCKS_MAX of them, an upload keeps no more than
   what its connection has already read. */
#define BLOCKS_MAX  64
#define BLOCKS_KEPT 4 /* free ones kept while any upload goes on: a fresh block costs its page faults */

struct block {
    struct block *next;
    size_t len, cap;
    char data[];
};

struct writing {
    struct file_op op;
    struct file_put put;
    struct later dispatch;      /* at the end of the turn: what arrived in one turn makes one job */
    struct block *first, *last; /* filled by the loop */
    size_t filled;              /* their bytes */
    struct block *taken;        /* with the workers */
    bool opened;                /* workers only */
    bool ended;                 /* the body is complete */
    bool commit;                /* the job under way is the last one */
    bool failed;                /* answered with an error; the rest of the body is for nobody */
    bool paused;
    char tag[ETAG_SIZE];
};

/* The loop's. */
static struct block *kept;
static size_t kept_count, blocks_out, uploads;

static struct block *new_block(size_t cap) {
    struct block *b = kept;
    if (b != NULL && cap == LIMIT_FILE_CHUNK) {
        kept = b->next;
        kept_count--;
    } else {
        b = malloc(sizeof *b + cap);
        if (b == NULL) return NULL;
    }
    *b = (struct block){.next = NULL, .len = 0, .cap = cap};
    blocks_out++;
    return b;
}

static void free_block(struct block *b) {
    blocks_out--;
    if (b->cap == LIMIT_FILE_CHUNK && kept_count < BLOCKS_KEPT && uploads > 0) {
        b->next = kept;
        kept = b;
        kept_count++;
    } else {
        free(b);
    }
}

static void free_blocks(struct block **list) {
    while (*list != NULL) {
        struct block *next = (*list)->next;
        free_block(*list);
        *list = next;
    }
}

static void release(struct file_op *op) {
    struct writing *w = (struct writing *)op;
    file_put_drop(&w->put);
    free(w->put.if_match);
    free(w->put.if_none_match);
}

static void write_taken(struct writing *w) {
    struct file_op *op = &w->op;
    op->held = true;
    if (!w->opened && !file_put_open(&w->put, &op->path, &op->error)) return;
    w->opened = true;
    for (const struct block *b = w->taken; b != NULL; b = b->next)
        if (!file_put_write(&w->put, b->data, b->len, &op->error)) return;
    if (w->commit && file_put_commit(&w->put, w->tag, &op->error)) {
        file_put_drop(&w->put);
        op->held = false;
    }
}

static void work(struct file_op *op) {
    struct writing *w = (struct writing *)op;
    write_taken(w);
    file_put_unlock(&w->put);
}

static void answer(struct writing *w) {
    struct buf json = BUF_INIT(8 * LIMIT_PATH);
    buf_puts(&json, "{\"path\":");
    escape_string(&json, w->op.path.text, w->op.path.len);
    buf_printf(&json, ",\"size\":%llu}", (unsigned long long)w->put.size);
    if (w->tag[0] != '\0') exchange_header(w->op.x, "ETag", w->tag);
    exchange_json(w->op.x, 200, &json);
}

static void done(struct file_op *op);

static void dispatch(struct writing *w) {
    if (w->op.running || w->failed || w->op.x == NULL) return;
    w->taken = w->first;
    w->first = w->last = NULL;
    w->filled = 0;
    w->commit = w->ended;
    file_op_run(&w->op, work, done);
}

static void dispatch_later(struct later *l) {
    dispatch((struct writing *)((char *)l - offsetof(struct writing, dispatch)));
}

/* A condition holds for all bytes of a write in place or for none: they are gathered, and compared, written
   and finished under one lock. So many bytes can be had as one block holds. */
static bool take_at_once(struct exchange *x, struct file_put *p) {
    p->at_once =
        p->in_place && (p->if_match != NULL || p->if_none_match != NULL) && !testing_off("etag-at-once");
    if (!p->at_once || (p->expected >= 0 && p->expected <= (int64_t)LIMIT_FILE_CHUNK)) return true;
    exchange_error(x, WIRE_TOO_LARGE,
                   "a write with an offset and a condition takes a body of known length, at most %zu bytes: "
                   "write the whole file, or without If-Match and If-None-Match",
                   LIMIT_FILE_CHUNK);
    return false;
}

/* Whether the loop may write: no worker does. */
static bool writes_here(const struct writing *w) {
    return !w->op.running && w->opened && w->put.in_memory && !w->failed;
}

/* What came while the file was being opened. */
static void write_filled(struct writing *w) {
    for (const struct block *b = w->first; b != NULL; b = b->next)
        if (!file_put_write(&w->put, b->data, b->len, &w->op.error)) break;
    free_blocks(&w->first);
    w->last = NULL;
    w->filled = 0;
}

static void done(struct file_op *op) {
    struct writing *w = (struct writing *)op;
    bool failed_before = w->failed;
    free_blocks(&w->taken);
    if (op->error.code == WIRE_OK && op->x != NULL && writes_here(w)) write_filled(w);
    if (op->error.code != WIRE_OK) {
        w->failed = true;
        free_blocks(&w->first);
        w->last = NULL;
    }
    if (w->paused) {
        w->paused = false;
        exchange_resume(op->x);
    }
    if (op->x == NULL || failed_before) return;
    if (w->failed) {
        file_op_answer_error(op);
    } else if (w->commit) {
        answer(w);
    } else if (w->filled > 0 || w->ended) {
        dispatch(w);
    }
}

static bool add_block(struct writing *w, size_t needed) {
    size_t cap = blocks_out >= BLOCKS_MAX ? needed : LIMIT_FILE_CHUNK;
    int64_t whole = w->put.expected;
    if (whole >= 0 && whole < (int64_t)cap) cap = (size_t)whole > needed ? (size_t)whole : needed;
    struct block *b = new_block(cap);
    if (b == NULL) return false;
    *(w->last != NULL ? &w->last->next : &w->first) = b;
    w->last = b;
    return true;
}

static bool on_body(struct exchange *x, const char *data, size_t len) {
    struct writing *w = x->ctx;
    if (w->failed) return false;
    if (w->first == NULL && writes_here(w)) {
        if (file_put_write(&w->put, data, len, &w->op.error)) return true;
        w->failed = true;
        file_op_answer_error(&w->op);
        return false;
    }
    while (len > 0) {
        if (w->last == NULL || w->last->len == w->last->cap) {
            if (!add_block(w, len)) {
                w->failed = true;
                exchange_error(x, WIRE_INTERNAL, "out of memory");
                return false;
            }
        }
        size_t part = w->last->cap - w->last->len;
        if (part > len) part = len;
        memcpy(w->last->data + w->last->len, data, part);
        w->last->len += part;
        w->filled += part;
        data += part;
        len -= part;
    }
    if (!w->put.at_once) loop_later(&w->dispatch, dispatch_later);
    if (!w->paused && w->op.running && (w->filled >= LIMIT_FILE_CHUNK || blocks_out >= BLOCKS_MAX)) {
        w->paused = true;
        exchange_pause(x);
    }
    return true;
}

static void on_body_end(struct exchange *x) {
    struct writing *w = x->ctx;
    w->ended = true;
    loop_later(&w->dispatch, dispatch_later);
}

static void on_close(struct exchange *x) {
    struct writing *w = x->ctx;
    loop_unlater(&w->dispatch);
    file_op_close(x);
}

static void forget(struct file_op *op) {
    struct writing *w = (struct writing *)op;
    free_blocks(&w->first);
    free_blocks(&w->taken);
    if (w->put.begun) file_left_watch(w->put.directory, w->put.part);
    uploads--;
    while (uploads == 0 && kept != NULL) {
        struct block *next = kept->next;
        free(kept);
        kept = next;
        kept_count--;
    }
}

static void read_mode(struct exchange *x, struct file_put *p) {
    struct buf text = BUF_INIT(16);
    /* The protocol has it that a mode which is none is ignored. */
    p->mode_given =
        http_query(x->request, "mode", &text) && !text.failed && text_mode(text.data, text.len, &p->mode);
    buf_free(&text);
}

static bool read_part(struct exchange *x, struct file_put *p) {
    struct buf name = BUF_INIT(24);
    bool found = http_query(x->request, "part", &name);
    bool ok = !name.failed && (!found || (name.len > 0 && memchr(name.data, '/', name.len) == NULL));
    if (ok && found) text_format(p->part, sizeof p->part, ".sbx-%s", name.data);
    if (!ok) exchange_error(x, WIRE_INVALID, "'part' takes 1 to 24 bytes without '/'");
    buf_free(&name);
    return ok;
}

void file_write_start(struct exchange *x) {
    uint64_t offset = 0, length = 0;
    int in_place, truncate;
    if ((in_place = file_op_number(x, "offset", &offset)) < 0 ||
        (truncate = file_op_number(x, "truncate_to", &length)) < 0)
        return;
    struct writing *w = file_op_new(x, sizeof *w, release);
    if (w == NULL) return;
    struct file_put *p = &w->put;
    p->fd = p->directory = -1;
    p->in_place = in_place > 0;
    p->offset = offset;
    p->truncate = truncate > 0;
    p->truncate_to = length;
    p->parents = http_query_bool(x->request, "mkdir", true);
    p->expected = x->request->content_length;
    read_mode(x, p);
    uploads++;
    w->op.forget = forget;
    if (!read_part(x, p)) return;
    if (!file_op_field(x, "If-Match", &p->if_match) || !file_op_field(x, "If-None-Match", &p->if_none_match))
        return;
    if (!take_at_once(x, p)) return;
    x->on_body = on_body;
    x->on_body_end = on_body_end;
    x->on_close = on_close;
    /* Who asks before sending is told only when the file could be opened. Other long bodies should not travel
       in vain either; a short one is opened, written and put in place by one job. */
    if (p->at_once) return;
    w->paused = x->request->expect_continue;
    if (w->paused) exchange_pause(x);
    if (x->request->expect_continue || p->expected < 0 || p->expected > (int64_t)LIMIT_FILE_CHUNK)
        dispatch(w);
}
