#include "agent/stream.h"

#include <stdlib.h>
#include <string.h>

#include "agent/entry.h"
#include "agent/escape.h"
#include "agent/events.h"
#include "util/testing.h"
#include "util/text.h"
#include "wire/limits.h"
#include "wire/names.h"

#define TEXT_PIECE KIB(32) /* of output in one line of JSON */
#define SMALL_MAX  MIB(4)
#define KEEP_SMALL KIB(16)
#define PARTS      8
#define PING_MS    testing_ms(INTERVAL_PING)

struct stream {
    struct stream *next;
    struct process *process;
    struct exchange *x;
    struct output_reader readers[2];
    struct timer ping;
    int64_t sent_ms;
    uint64_t
        until[2]; /* nothing from here on is sent: without `follow`, what is held at the beginning is all */
    uint64_t gap_at[2], gap[2];
    bool frames;
    bool follow;
    bool until_closed;
    bool begun;
    bool ended;
};

/* One piece of the response being put together: small texts in `small`, referred to by place because it
   grows, and output as it lies in the rings. */
struct piece {
    struct buf *small;
    struct iovec parts[PARTS];
    size_t small_at[PARTS]; /* where a part begins in `small`; only when iov_base is NULL */
    int count;
};

static struct buf small_text = BUF_INIT(SMALL_MAX);

struct stream *stream_next(const struct stream *s) {
    return s->next;
}

static void release(struct stream *s) {
    struct stream **at = &s->process->streams;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    loop_untimer(&s->ping);
    output_detach(&s->readers[0]);
    output_detach(&s->readers[1]);
    process_changed(s->process);
    free(s);
}

static void closed(struct exchange *x) {
    release(x->ctx);
}

static void drained(struct exchange *x) {
    struct stream *s = x->ctx;
    process_changed(s->process);
}

/* All small bytes since `from` as one part. */
static void add_small(struct piece *piece, size_t from) {
    if (piece->small->len == from) return;
    piece->small_at[piece->count] = from;
    piece->parts[piece->count++] = (struct iovec){NULL, piece->small->len - from};
}

static void put_event(struct stream *s, enum frame_type type,
                      void (*fields)(const struct process *, struct buf *), struct buf *out) {
    struct buf inside = BUF_INIT(SMALL_MAX);
    fields(s->process, &inside);
    events_json(out, s->frames, type, inside.data, inside.len);
    buf_free(&inside);
}

static uint64_t unread(const struct stream *s, int i) {
    uint64_t end = s->process->channels[i].out.end, pos = s->readers[i].pos;
    if (end > s->until[i]) end = s->until[i];
    return pos < end ? end - pos : 0;
}

/* The unread bytes, at most `most`, as they lie in the ring. */
static int peek(const struct stream *s, int i, size_t most, struct iovec pieces[2]) {
    uint64_t left = unread(s, i);
    return output_peek(&s->process->channels[i].out, s->readers[i].pos, left < most ? (size_t)left : most,
                       pieces);
}

static bool at_end(const struct stream *s) {
    if (!s->follow) return true;
    return process_exit_known(s->process) && (!s->until_closed || process_output_closed(s->process));
}

/* The next bytes of one stream as frame or line. */
static void add_output(struct stream *s, int i, struct piece *piece) {
    enum frame_type type = i == 0 ? FRAME_STDOUT : FRAME_STDERR;
    struct output_reader *r = &s->readers[i];
    const struct channel *c = &s->process->channels[i];
    size_t from = piece->small->len;
    if (r->pos <
        c->out.start) { /* lost for want of memory: nothing else takes bytes from an attached reader */
        s->gap_at[i] = r->pos;
        s->gap[i] = c->out.start - r->pos;
        output_advance(r, (size_t)s->gap[i]);
    }
    if (s->gap[i] > 0) events_gap(piece->small, s->frames, type, s->gap_at[i], s->gap[i]);
    s->gap[i] = 0;
    struct iovec pieces[2];
    int count = peek(s, i, s->frames ? FRAME_MAX : TEXT_PIECE, pieces);
    size_t len = 0;
    for (int n = 0; n < count; n++)
        len += pieces[n].iov_len;
    if (s->frames && len > 0) {
        unsigned char header[FRAME_HEADER];
        frame_encode(&(struct frame){.type = type, .length = (uint32_t)len, .offset = r->pos}, header);
        buf_append(piece->small, header, sizeof header);
        add_small(piece, from);
        for (int n = 0; n < count; n++)
            piece->parts[piece->count++] = pieces[n];
    } else {
        bool last = len == unread(s, i) && (c->fd < 0 || (at_end(s) && process_exit_known(s->process)));
        if (count > 0) len = events_text(piece->small, type, pieces, count, last);
        add_small(piece, from);
    }
    output_advance(r, len);
}

/* Whether what is unread is no more than the beginning of a character, which waits for its rest. */
static bool incomplete(const struct stream *s, int i) {
    char text[4];
    size_t len = 0;
    struct iovec pieces[2];
    int count = peek(s, i, sizeof text, pieces);
    for (int n = 0; n < count; n++) {
        memcpy(text + len, pieces[n].iov_base, pieces[n].iov_len);
        len += pieces[n].iov_len;
    }
    return len < sizeof text && text_utf8_tail(text, len) == len;
}

static bool all_sent(const struct stream *s) {
    for (int i = 0; i < 2; i++) {
        if (s->gap[i] > 0) return false;
        if (unread(s, i) > 0 && !(!s->frames && !s->follow && incomplete(s, i))) return false;
    }
    return true;
}

static void add_end(struct stream *s, struct piece *piece) {
    size_t from = piece->small->len;
    bool known = process_exit_known(s->process);
    for (int i = 0; i < 2; i++)
        if (s->process->channels[i].out.end > s->until[i]) known = false; /* there is more to be asked for */
    put_event(s, known ? FRAME_EXIT : FRAME_HELD, known ? entry_exit : entry_fields, piece->small);
    add_small(piece, from);
    s->ended = true;
}

static void ping(struct timer *t) {
    struct stream *s = (struct stream *)((char *)t - offsetof(struct stream, ping));
    if (s->ended) return;
    if (s->begun && loop_now() - s->sent_ms >= PING_MS && exchange_pending(s->x) == 0) {
        struct buf line = BUF_INIT(64);
        events_json(&line, s->frames, FRAME_PING, "", 0);
        struct iovec part = {line.data, line.len};
        exchange_send(s->x, &part, 1);
        buf_free(&line);
        s->sent_ms = loop_now();
    }
    int64_t due = s->sent_ms + PING_MS;
    if (due <= loop_now()) due = loop_now() + PING_MS;
    loop_timer(&s->ping, due, ping);
}

static void send_piece(struct stream *s, struct piece *piece) {
    if (piece->small->failed) {
        exchange_abort(s->x);
        s->ended = true;
        return;
    }
    for (int i = 0; i < piece->count; i++)
        if (piece->parts[i].iov_base == NULL)
            piece->parts[i].iov_base = piece->small->data + piece->small_at[i];
    exchange_send(s->x, piece->parts, piece->count);
    s->sent_ms = loop_now();
    if (s->ended) exchange_end(s->x);
}

/* False: nothing to send now. */
static bool send_some(struct stream *s) {
    struct piece piece = {.small = &small_text};
    buf_clear(&small_text);
    if (!s->begun) {
        exchange_begin(s->x, 200, s->frames ? FRAME_TYPE : "application/x-ndjson", -1);
        put_event(s, FRAME_START, entry_start, &small_text);
        add_small(&piece, 0);
        s->begun = true;
        loop_timer(&s->ping, loop_now() + PING_MS, ping);
    }
    for (int i = 0; i < 2; i++)
        if (unread(s, i) > 0 || s->gap[i] > 0) add_output(s, i, &piece);
    if (at_end(s) && all_sent(s)) add_end(s, &piece);
    if (piece.count == 0) return false;
    send_piece(s, &piece);
    if (small_text.cap > KEEP_SMALL) buf_free(&small_text);
    return true;
}

void stream_flush(struct stream *s) {
    struct process *p = s->process;
    if (s->ended || p->state == PROCESS_STARTING) return;
    if (p->state == PROCESS_FAILED) {
        s->ended = true;
        stream_answer_failed(s->x, p->command.argv[0], p->command.cwd, p->spawn_step, p->spawn_error);
        return;
    }
    while (!s->ended && exchange_pending(s->x) < EXCHANGE_HIGH && send_some(s)) {
    }
}

void stream_attach(struct process *p, struct exchange *x, const struct stream_options *options) {
    struct stream *s = calloc(1, sizeof *s);
    if (s == NULL) {
        exchange_error(x, WIRE_INTERNAL, "out of memory");
        return;
    }
    const char *accept = http_header(x->request, "Accept");
    s->process = p;
    s->x = x;
    s->frames = accept != NULL && text_after(accept, FRAME_TYPE) != NULL;
    s->follow = options->follow;
    s->until_closed = options->until_closed;
    s->sent_ms = loop_now();
    for (int i = 0; i < 2; i++) {
        struct output *out = &p->channels[i].out;
        uint64_t from = options->from[i] == STREAM_OLDEST ? out->start : options->from[i];
        output_attach(out, &s->readers[i], from);
        s->until[i] = s->follow || testing_off("held-end") ? UINT64_MAX : out->end;
        s->gap_at[i] = from;
        s->gap[i] = s->readers[i].pos - from;
    }
    x->ctx = s;
    x->on_close = closed;
    x->on_drain = drained;
    s->next = p->streams;
    p->streams = s;
    process_changed(p);
}

void stream_answer_failed(struct exchange *x, const char *argv0, const char *cwd, const char *step,
                          int error) {
    struct buf text = BUF_INIT(KIB(16)), json = BUF_INIT(KIB(128));
    buf_printf(&text, "failed to spawn '%.1000s': ", argv0);
    if (strcmp(step, "cwd") == 0)
        buf_printf(&text, "cwd '%.4000s': ", cwd);
    else if (strcmp(step, "exec") != 0)
        buf_printf(&text, "%s: ", step);
    buf_puts(&text, strerror(error));
    buf_puts(&json, "{\"error\":");
    escape_string(&json, text.data, text.len);
    buf_printf(&json, ",\"code\":\"%s\",\"errno\":%d}", codes_name(WIRE_SPAWN), error);
    buf_free(&text);
    exchange_header(x, HEADER_CODE, codes_name(WIRE_SPAWN));
    exchange_json(x, codes_http(WIRE_SPAWN), &json);
}
