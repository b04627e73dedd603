#include "client/ndjson_reader.h"

#include <string.h>

#include "client/json.h"

void ndjson_reader_init(struct ndjson_reader *reader) {
    memset(reader, 0, sizeof *reader);
    buf_init(&reader->line, NDJSON_LINE_MAX);
    buf_init(&reader->text, NDJSON_LINE_MAX);
}

void ndjson_reader_free(struct ndjson_reader *reader) {
    buf_free(&reader->line);
    buf_free(&reader->text);
}

static enum stream_read output_event(struct ndjson_reader *reader, const char *line, size_t len, int stream,
                                     struct stream_event *out) {
    /* Not through cJSON, whose strings end at the first NUL byte. */
    buf_clear(&reader->text);
    if (!json_unescape_member(line, len, "data", &reader->text)) return STREAM_BAD;
    out->kind = STREAM_OUTPUT;
    out->stream = stream;
    out->data = reader->text.data != NULL ? reader->text.data : "";
    out->len = reader->text.len;
    out->offset = reader->offset[stream];
    reader->offset[stream] += out->len;
    return STREAM_EVENT;
}

static enum stream_read gap_event(struct ndjson_reader *reader, const struct json *value,
                                  struct stream_event *out) {
    const char *stream = json_string(value, "stream");
    out->kind = STREAM_GAP;
    out->stream = stream != NULL && strcmp(stream, "stderr") == 0;
    out->offset = reader->offset[out->stream];
    out->dropped = json_uint(value, "dropped", 0);
    reader->offset[out->stream] += out->dropped;
    return STREAM_EVENT;
}

/* STREAM_MORE: an event that this version does not know. */
static enum stream_read line_event(struct ndjson_reader *reader, const char *line, size_t len,
                                   struct stream_event *out) {
    memset(out, 0, sizeof *out);
    struct json *value = json_parse(line, len);
    const char *event = json_string(value, "event");
    enum stream_read result = STREAM_EVENT;
    if (event == NULL) {
        result = STREAM_BAD;
    } else if (strcmp(event, "stdout") == 0 || strcmp(event, "stderr") == 0) {
        result = output_event(reader, line, len, event[3] == 'e', out);
    } else if (strcmp(event, "start") == 0) {
        stream_event_start(out, value);
    } else if (strcmp(event, "ping") == 0) {
        out->kind = STREAM_PING;
    } else if (strcmp(event, "gap") == 0) {
        result = gap_event(reader, value, out);
    } else if (strcmp(event, "exit") == 0 || strcmp(event, "held") == 0) {
        out->kind = event[0] == 'e' ? STREAM_EXIT : STREAM_HELD;
        if (!stream_event_exit(&out->exit, value)) {
            out->bad = STREAM_EVENT_NO_EXIT;
            result = STREAM_BAD;
        }
    } else {
        result = STREAM_MORE;
    }
    json_free(value);
    return result;
}

static bool is_blank(const char *line, size_t len) {
    while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\r' || line[len - 1] == '\t'))
        len--;
    return len == 0;
}

enum stream_read ndjson_reader_next(struct ndjson_reader *reader, const char **data, size_t *len,
                                    struct stream_event *out) {
    while (*len > 0) {
        const char *end = memchr(*data, '\n', *len);
        size_t part = end != NULL ? (size_t)(end - *data) : *len;
        const char *line = *data;
        size_t line_len = part;
        bool pieced = reader->line.len > 0;
        if (pieced || end == NULL) {
            if (!buf_append(&reader->line, *data, part)) return STREAM_BAD;
            line = reader->line.data;
            line_len = reader->line.len;
        }
        *data += part + (end != NULL);
        *len -= part + (end != NULL);
        if (end == NULL) break;
        enum stream_read result =
            is_blank(line, line_len) ? STREAM_MORE : line_event(reader, line, line_len, out);
        if (pieced) buf_clear(&reader->line);
        if (result != STREAM_MORE) return result;
    }
    return STREAM_MORE;
}
