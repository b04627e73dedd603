#include "client/frame_reader.h"

#include <string.h>

#include "client/json.h"

void frame_reader_init(struct frame_reader *reader) {
    memset(reader, 0, sizeof *reader);
    buf_init(&reader->payload, FRAME_MAX);
}

void frame_reader_free(struct frame_reader *reader) {
    buf_free(&reader->payload);
}

static size_t take(const char **data, size_t *len, size_t want) {
    size_t got = want < *len ? want : *len;
    *data += got;
    *len -= got;
    return got;
}

static bool is_output(const struct frame_reader *reader) {
    return reader->frame.type == FRAME_STDOUT || reader->frame.type == FRAME_STDERR;
}

static bool read_gap(const struct frame_reader *reader, struct stream_event *out) {
    const unsigned char *payload = (const unsigned char *)reader->payload.data;
    if (reader->payload.len != 9 || (payload[0] != FRAME_STDOUT && payload[0] != FRAME_STDERR)) return false;
    out->kind = STREAM_GAP;
    out->stream = payload[0] == FRAME_STDERR;
    out->offset = reader->frame.offset;
    out->dropped = frame_get_u64(payload + 1);
    return out->dropped <= UINT64_MAX - out->offset;
}

static bool read_json(const struct frame_reader *reader, struct stream_event *out) {
    struct json *value =
        reader->payload.len > 0 ? json_parse(reader->payload.data, reader->payload.len) : NULL;
    bool ok = json_is_object(value);
    if (ok && reader->frame.type == FRAME_START) {
        stream_event_start(out, value);
    } else if (ok) {
        out->kind = reader->frame.type == FRAME_EXIT ? STREAM_EXIT : STREAM_HELD;
        ok = stream_event_exit(&out->exit, value);
        if (!ok) out->bad = STREAM_EVENT_NO_EXIT;
    }
    json_free(value);
    return ok;
}

/* A frame other than output is complete. */
static bool whole(const struct frame_reader *reader, struct stream_event *out) {
    switch (reader->frame.type) {
    case FRAME_GAP:
        return read_gap(reader, out);
    case FRAME_PING:
        out->kind = STREAM_PING;
        return true;
    case FRAME_START:
    case FRAME_EXIT:
    case FRAME_HELD:
        return read_json(reader, out);
    case FRAME_STDOUT:
    case FRAME_STDERR:
        break;
    }
    return false;
}

enum stream_read frame_reader_next(struct frame_reader *reader, const char **data, size_t *len,
                                   struct stream_event *out) {
    for (;;) {
        if (reader->header_len < FRAME_HEADER) {
            const char *from = *data;
            size_t got = take(data, len, FRAME_HEADER - reader->header_len);
            if (got > 0) memcpy(reader->header + reader->header_len, from, got);
            reader->header_len += got;
            if (reader->header_len < FRAME_HEADER) return STREAM_MORE;
            if (!frame_decode(reader->header, &reader->frame)) return STREAM_BAD;
            if (reader->frame.length > UINT64_MAX - reader->frame.offset) return STREAM_BAD;
            reader->taken = 0;
            buf_clear(&reader->payload);
        }
        uint32_t left = reader->frame.length - reader->taken;
        const char *from = *data;
        size_t got = take(data, len, left);
        uint64_t at = reader->frame.offset + reader->taken;
        reader->taken += (uint32_t)got;
        bool complete = got == left;
        if (complete) reader->header_len = 0;
        memset(out, 0, sizeof *out);
        if (is_output(reader)) {
            if (got == 0 && !complete) return STREAM_MORE;
            if (got == 0) continue; /* an empty frame says nothing */
            out->kind = STREAM_OUTPUT;
            out->stream = reader->frame.type == FRAME_STDERR;
            out->offset = at;
            out->data = from;
            out->len = got;
            return STREAM_EVENT;
        }
        if (!buf_append(&reader->payload, from, got)) return STREAM_BAD;
        if (!complete) return STREAM_MORE;
        return whole(reader, out) ? STREAM_EVENT : STREAM_BAD;
    }
}
