#include "proxy_http.h"

#include <string.h>
#include <strings.h>

bool slice_is(struct slice s, const char *text) {
    return s.p != NULL && s.len == strlen(text) && strncasecmp(s.p, text, s.len) == 0;
}

static struct slice trim(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    return (struct slice){p, (size_t)(end - p)};
}

/* The next line without its end; NULL when none is complete. */
static const char *next_line(const char *p, const char *end, const char **line_end) {
    const char *newline = memchr(p, '\n', (size_t)(end - p));
    if (newline == NULL) return NULL;
    *line_end = newline > p && newline[-1] == '\r' ? newline - 1 : newline;
    return newline + 1;
}

static bool parse_version(const char *p, size_t len, bool *old) {
    if (len != 8 || memcmp(p, "HTTP/1.", 7) != 0) return false;
    *old = p[7] == '0';
    return p[7] == '0' || p[7] == '1';
}

static bool parse_request_line(struct head *head, const char *p, const char *end) {
    const char *first = memchr(p, ' ', (size_t)(end - p));
    const char *last = first == NULL ? NULL : memchr(first + 1, ' ', (size_t)(end - first - 1));
    if (last == NULL || first == p || last == first + 1) return false;
    head->method = (struct slice){p, (size_t)(first - p)};
    head->target = (struct slice){first + 1, (size_t)(last - first - 1)};
    return parse_version(last + 1, (size_t)(end - last - 1), &head->old);
}

static bool parse_status_line(struct head *head, const char *p, const char *end) {
    if (end - p < 12 || !parse_version(p, 8, &head->old) || p[8] != ' ') return false;
    head->status = 0;
    for (int i = 9; i < 12; i++) {
        if (p[i] < '0' || p[i] > '9') return false;
        head->status = head->status * 10 + p[i] - '0';
    }
    return head->status >= 100;
}

int head_parse(struct head *head, const char *data, size_t len, bool reply) {
    const char *p = data, *end = data + len, *line_end, *next;
    head->count = 0;
    next = next_line(p, end, &line_end);
    if (next == NULL) return len > HEAD_MAX ? -1 : 0;
    if (!(reply ? parse_status_line(head, p, line_end) : parse_request_line(head, p, line_end))) return -1;
    for (p = next; (next = next_line(p, end, &line_end)) != NULL; p = next) {
        if (line_end == p) {
            head->len = (size_t)(next - data);
            return head->len > HEAD_MAX ? -1 : 1;
        }
        const char *colon = memchr(p, ':', (size_t)(line_end - p));
        if (colon == NULL || colon == p || colon[-1] == ' ' || head->count == HEAD_FIELDS) return -1;
        head->fields[head->count].name = (struct slice){p, (size_t)(colon - p)};
        head->fields[head->count++].value = trim(colon + 1, line_end);
    }
    return len > HEAD_MAX ? -1 : 0;
}

struct slice head_field(const struct head *head, const char *name) {
    for (size_t i = 0; i < head->count; i++)
        if (slice_is(head->fields[i].name, name)) return head->fields[i].value;
    return (struct slice){NULL, 0};
}

static bool list_has(struct slice list, const char *token) {
    const char *p = list.p, *end = list.p + list.len;
    while (p < end) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        if (comma == NULL) comma = end;
        if (slice_is(trim(p, comma), token)) return true;
        p = comma + 1;
    }
    return false;
}

bool head_has_token(const struct head *head, const char *name, const char *token) {
    for (size_t i = 0; i < head->count; i++)
        if (slice_is(head->fields[i].name, name) && list_has(head->fields[i].value, token)) return true;
    return false;
}

/* -- bodies */

/* 1 with the one length that all of these fields name, 0 without any, -1 when they disagree or are none. */
static int content_length(const struct head *head, uint64_t *out) {
    int found = 0;
    for (size_t i = 0; i < head->count; i++) {
        struct slice value = head->fields[i].value;
        uint64_t number = 0;
        if (!slice_is(head->fields[i].name, "content-length")) continue;
        if (value.len == 0 || value.len > 18) return -1;
        for (size_t k = 0; k < value.len; k++) {
            if (value.p[k] < '0' || value.p[k] > '9') return -1;
            number = number * 10 + (uint64_t)(value.p[k] - '0');
        }
        if (found != 0 && number != *out) return -1;
        *out = number;
        found = 1;
    }
    return found;
}

static bool start_body(struct body *body, const struct head *head, enum body_kind otherwise) {
    uint64_t length = 0;
    int lengths = content_length(head, &length);
    bool chunked = head_has_token(head, "transfer-encoding", "chunked");
    if (lengths < 0 || (chunked && lengths > 0)) return false;
    if (head_field(head, "transfer-encoding").p != NULL && !chunked) return false;
    body->kind = chunked ? BODY_CHUNKED : lengths > 0 ? BODY_LENGTH : otherwise;
    body->left = length;
    body->done = body->kind == BODY_NONE || (body->kind == BODY_LENGTH && length == 0);
    return true;
}

bool body_of_request(struct body *body, const struct head *head) {
    *body = (struct body){0};
    return start_body(body, head, BODY_NONE);
}

bool body_of_reply(struct body *body, const struct head *head, bool to_head_request) {
    *body = (struct body){0};
    if (head->status == 101) {
        body->kind = BODY_TUNNEL;
        return true;
    }
    if (to_head_request || head->status < 200 || head->status == 204 || head->status == 304) {
        body->done = true;
        return true;
    }
    return start_body(body, head, BODY_UNTIL_CLOSE);
}

enum { CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_DATA, CHUNK_END, CHUNK_TRAILER };

static int hex(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static void size_ends(struct body *body) {
    body->state = body->left > 0 ? CHUNK_DATA : CHUNK_TRAILER;
    body->empty_line = true;
}

static void take_size(struct body *body, char c) {
    int digit = hex(c);
    if (digit >= 0 && body->left < (uint64_t)1 << 56)
        body->left = body->left * 16 + (uint64_t)digit;
    else if (c == '\n')
        size_ends(body);
    else if (c == ';' || c == ' ' || c == '\r')
        body->state = CHUNK_EXTENSION;
    else
        body->bad = true;
}

static void take_framing(struct body *body, char c) {
    switch (body->state) {
    case CHUNK_SIZE:
        take_size(body, c);
        break;
    case CHUNK_EXTENSION:
        if (c == '\n') size_ends(body);
        break;
    case CHUNK_END:
        if (c == '\n') {
            body->state = CHUNK_SIZE;
            body->left = 0;
        } else if (c != '\r')
            body->bad = true;
        break;
    default:
        if (c == '\n') {
            if (body->empty_line) body->done = true;
            body->empty_line = true;
        } else if (c != '\r')
            body->empty_line = false;
    }
}

static size_t take_length(struct body *body, size_t len) {
    size_t taken = len < body->left ? len : (size_t)body->left;
    body->left -= taken;
    return taken;
}

size_t body_take(struct body *body, const char *data, size_t len) {
    size_t used = 0;
    if (body->kind == BODY_UNTIL_CLOSE || body->kind == BODY_TUNNEL) return len;
    if (body->kind == BODY_LENGTH) {
        used = take_length(body, len);
        body->done = body->left == 0;
        return used;
    }
    while (used < len && !body->done && !body->bad) {
        if (body->state == CHUNK_DATA) {
            used += take_length(body, len - used);
            if (body->left == 0) body->state = CHUNK_END;
        } else
            take_framing(body, data[used++]);
    }
    return used;
}

/* -- writing */

static bool put(struct buf *out, struct slice s) {
    return buf_append(out, s.p, s.len);
}

static bool put_fields(struct buf *out, const struct head *head, bool request) {
    static const char *const hop[] = {"connection", "keep-alive", "proxy-connection"};
    for (size_t i = 0; i < head->count; i++) {
        bool skip = request && slice_is(head->fields[i].name, "authorization");
        for (size_t k = 0; k < sizeof hop / sizeof hop[0]; k++)
            skip = skip || slice_is(head->fields[i].name, hop[k]);
        if (skip) continue;
        put(out, head->fields[i].name);
        buf_puts(out, ": ");
        put(out, head->fields[i].value);
        buf_puts(out, "\r\n");
    }
    return !out->failed;
}

bool head_write_request(struct buf *out, const struct head *head, struct slice target, bool close) {
    bool upgrade = head_has_token(head, "connection", "upgrade");
    put(out, head->method);
    buf_putc(out, ' ');
    put(out, target);
    buf_puts(out, " HTTP/1.1\r\n");
    put_fields(out, head, true);
    if (upgrade)
        buf_puts(out, "Connection: Upgrade\r\n");
    else if (close)
        buf_puts(out, "Connection: close\r\n");
    return buf_puts(out, "\r\n");
}

static const char *reason(int status) {
    switch (status) {
    case 100:
        return "Continue";
    case 101:
        return "Switching Protocols";
    case 200:
        return "OK";
    case 204:
        return "No Content";
    case 206:
        return "Partial Content";
    default:
        return status < 300   ? "Success"
               : status < 400 ? "Redirection"
               : status < 500 ? "Client Error"
                              : "Server Error";
    }
}

bool head_write_reply(struct buf *out, const struct head *head, bool close) {
    buf_printf(out, "HTTP/1.1 %d %s\r\n", head->status, reason(head->status));
    put_fields(out, head, false);
    if (head->status == 101)
        buf_puts(out, "Connection: Upgrade\r\n");
    else if (close && head->status >= 200)
        buf_puts(out, "Connection: close\r\n");
    return buf_puts(out, "\r\n");
}
