#include "agent/events.h"

#include <string.h>

#include "agent/escape.h"
#include "util/testing.h"
#include "util/text.h"

static const char *name_of(enum frame_type type) {
    switch (type) {
    case FRAME_START:
        return "start";
    case FRAME_STDOUT:
        return "stdout";
    case FRAME_STDERR:
        return "stderr";
    case FRAME_GAP:
        return "gap";
    case FRAME_PING:
        return "ping";
    case FRAME_EXIT:
        return "exit";
    case FRAME_HELD:
        return "held";
    }
    return "";
}

static void put_header(struct buf *out, enum frame_type type, size_t length, uint64_t offset) {
    struct frame f = {.type = type, .length = (uint32_t)length, .offset = offset};
    unsigned char header[FRAME_HEADER];
    frame_encode(&f, header);
    buf_append(out, header, sizeof header);
}

void events_json(struct buf *out, bool frames, enum frame_type type, const char *fields, size_t len) {
    if (frames) {
        put_header(out, type, type == FRAME_PING ? 0 : len + 2, 0);
        if (type == FRAME_PING) return;
        buf_putc(out, '{');
        buf_append(out, fields, len);
        buf_putc(out, '}');
        return;
    }
    buf_puts(out, "{\"event\":\"");
    buf_puts(out, name_of(type));
    buf_puts(out, len > 0 ? "\"," : "\"");
    buf_append(out, fields, len);
    buf_puts(out, "}\n");
}

void events_gap(struct buf *out, bool frames, enum frame_type stream, uint64_t offset, uint64_t dropped) {
    if (frames) {
        unsigned char body[9];
        body[0] = (unsigned char)stream;
        frame_put_u64(dropped, body + 1);
        put_header(out, FRAME_GAP, sizeof body, offset);
        buf_append(out, body, sizeof body);
        return;
    }
    buf_printf(out, "{\"event\":\"gap\",\"stream\":\"%s\",\"offset\":%llu,\"dropped\":%llu}\n",
               name_of(stream), (unsigned long long)offset, (unsigned long long)dropped);
}

size_t events_text(struct buf *out, enum frame_type stream, const struct iovec *pieces, int count,
                   bool last) {
    char end[8];
    size_t total = 0, end_len = 0, incomplete = 0;
    for (int i = 0; i < count; i++)
        total += pieces[i].iov_len;
    /* The last bytes together, wherever the pieces part, to see whether a character is incomplete. */
    for (int i = 0; i < count; i++) {
        const char *data = pieces[i].iov_base;
        size_t take = pieces[i].iov_len < 4 ? pieces[i].iov_len : 4;
        if (end_len + take > 4) {
            size_t drop = end_len + take - 4;
            memmove(end, end + drop, end_len - drop);
            end_len -= drop;
        }
        memcpy(end + end_len, data + pieces[i].iov_len - take, take);
        end_len += take;
    }
    if (!last && !testing_off("utf8-carry")) incomplete = text_utf8_tail(end, end_len);
    if (total == incomplete) return 0;

    buf_puts(out, "{\"event\":\"");
    buf_puts(out, name_of(stream));
    buf_puts(out, "\",\"data\":\"");
    size_t left = total - incomplete, skip = 0;
    for (int i = 0; i < count && left > 0; i++) {
        const char *data = (const char *)pieces[i].iov_base + skip;
        size_t len = pieces[i].iov_len - skip;
        skip = 0;
        if (len > left) len = left;
        left -= len;
        size_t torn = left > 0 ? text_utf8_tail(data, len) : 0;
        escape_part(out, data, len - torn);
        if (torn == 0) continue;
        /* A character that stands across two pieces. */
        char character[4];
        memcpy(character, data + len - torn, torn);
        size_t more = left < 4 - torn ? left : 4 - torn;
        if (more > pieces[i + 1].iov_len) more = pieces[i + 1].iov_len;
        size_t whole = torn;
        while (skip < more && text_utf8_tail(character, whole) > 0)
            character[whole++] = ((const char *)pieces[i + 1].iov_base)[skip++];
        /* The byte that showed it to be broken begins something of its own. */
        if (whole > torn && ((unsigned char)character[whole - 1] & 0xC0) != 0x80) {
            whole--;
            skip--;
        }
        left -= skip;
        escape_part(out, character, whole);
    }
    buf_puts(out, "\"}\n");
    return total - incomplete;
}
