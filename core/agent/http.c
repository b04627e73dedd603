/* What is refused here beyond llhttp's own rules, so that no other parser in front of the agent can see other
   requests in the same bytes: any control character but the tab inside a line, CR or LF alone, folded lines,
   space before a colon, targets that do not begin with a slash or hold a fragment, versions other than 1.0
   and 1.1, more than one Content-Length, Transfer-Encoding, Host or Expect, a length that is not all digits,
   a transfer coding other than exactly `chunked`, both framings at once, and chunk framing or trailers of
   more than FRAMING_MAX bytes between two pieces of data. */
#include "agent/http.h"

#include <llhttp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "util/testing.h"
#include "util/text.h"
#include "wire/limits.h"

#define FRAMING_MAX KIB(8)
#define KEEP_HEAD   KIB(4) /* a head buffer that is larger is released after its request */

enum stage { STAGE_HEAD, STAGE_LENGTH, STAGE_CHUNKED, STAGE_DONE, STAGE_BAD };

/* Looks at each byte once, before llhttp does: lines end with CRLF and hold no control characters. */
struct scan {
    bool cr;          /* the last byte was a CR */
    bool line_begins; /* the next byte is the first of a line */
    bool in_line;     /* the line under way has bytes */
};

struct http_parser {
    llhttp_t llhttp;
    struct http_request request;
    struct http_header *headers; /* room for LIMIT_HEADERS, grown on demand */
    size_t header_cap;
    struct buf head;
    struct scan scan;
    enum stage stage;
    size_t target_len;
    uint64_t left; /* of a body with a length */
    /* While a chunked body is parsed: */
    const char *mark;  /* the first byte not looked at yet */
    const char *piece; /* the piece of body that on_body found */
    size_t piece_len;
    size_t framing; /* framing bytes since the last piece */
    bool complete;  /* the last chunk and its trailers were seen */
    int status;
    const char *reason;
};

static int on_url(llhttp_t *l, const char *at, size_t len);
static int on_field(llhttp_t *l, const char *at, size_t len);
static int on_head(llhttp_t *l);
static int on_body(llhttp_t *l, const char *at, size_t len);
static int on_complete(llhttp_t *l);

static const llhttp_settings_t *settings(void) {
    static llhttp_settings_t table;
    if (table.on_url == NULL) {
        llhttp_settings_init(&table);
        table.on_header_field = on_field;
        table.on_headers_complete = on_head;
        table.on_body = on_body;
        table.on_message_complete = on_complete;
        table.on_url = on_url;
    }
    return &table;
}

struct http_parser *http_new(void) {
    struct http_parser *p = calloc(1, sizeof *p);
    if (p == NULL) return NULL;
    buf_init(&p->head, LIMIT_HEAD);
    http_next(p);
    return p;
}

void http_free(struct http_parser *p) {
    if (p == NULL) return;
    buf_free(&p->head);
    free(p->headers);
    free(p);
}

void http_next(struct http_parser *p) {
    llhttp_init(&p->llhttp, HTTP_REQUEST, settings());
    p->llhttp.data = p;
    if (testing_off("framing")) llhttp_set_lenient_chunked_length(&p->llhttp, 1);
    if (p->head.cap > KEEP_HEAD) buf_free(&p->head);
    buf_clear(&p->head);
    p->request = (struct http_request){.method = "", .target = "", .query = p->head.data};
    p->scan = (struct scan){.line_begins = true};
    p->stage = STAGE_HEAD;
    p->left = 0;
    p->framing = 0;
    p->complete = false;
    p->status = 0;
    p->reason = "";
}

const struct http_request *http_request(const struct http_parser *p) {
    return &p->request;
}

int http_bad_status(const struct http_parser *p) {
    return p->status;
}

const char *http_bad_reason(const struct http_parser *p) {
    return p->reason;
}

static enum http_event bad(struct http_parser *p, int status, const char *reason) {
    p->stage = STAGE_BAD;
    p->status = status;
    p->reason = reason;
    return HTTP_BAD;
}

/* NULL, or what is wrong with the byte. *blank: an empty line ended with it. */
static const char *scan_byte(struct scan *s, unsigned char c, bool *blank) {
    *blank = false;
    if (s->cr) {
        if (c != '\n') return "a CR without its LF";
        *blank = !s->in_line;
        *s = (struct scan){.line_begins = true};
        return NULL;
    }
    if (c == '\n') return "an LF without its CR";
    if (c == '\r') {
        s->cr = true;
        return NULL;
    }
    if ((c < 0x20 && c != '\t') || c == 0x7F) return "a control character in the head or the framing";
    if (s->line_begins && (c == ' ' || c == '\t')) return "a line that begins with a space";
    s->line_begins = false;
    s->in_line = true;
    return NULL;
}

static int on_url(llhttp_t *l, const char *at, size_t len) {
    struct http_parser *p = l->data;
    if (p->request.target[0] != '\0')
        return HPE_USER; /* the whole head is one run of llhttp, so a span comes once */
    p->request.target = at;
    p->target_len = len;
    return 0;
}

static int on_field(llhttp_t *l, const char *at, size_t len) {
    struct http_parser *p = l->data;
    if (p->stage != STAGE_HEAD) return 0; /* a trailer */
    struct http_request *r = &p->request;
    if (r->header_count == LIMIT_HEADERS) {
        p->status = 431;
        p->reason = "more than 100 header fields";
        return HPE_USER;
    }
    if (r->header_count == p->header_cap) {
        size_t cap = p->header_cap == 0 ? 16 : p->header_cap * 2;
        struct http_header *grown = realloc(p->headers, cap * sizeof *grown);
        if (grown == NULL) return HPE_USER;
        p->headers = grown;
        p->header_cap = cap;
    }
    r->headers = p->headers;
    r->headers[r->header_count++] = (struct http_header){.name = at, .value = "", .value_len = len};
    return 0;
}

static int on_head(llhttp_t *l) {
    (void)l;
    return HPE_PAUSED;
}

static int on_complete(llhttp_t *l) {
    struct http_parser *p = l->data;
    p->complete = true;
    return HPE_PAUSED;
}

/* Everything from the mark to `end` was framing. */
static bool scan_framing(struct http_parser *p, const char *end) {
    bool blank;
    for (; p->mark < end; p->mark++) {
        p->reason = scan_byte(&p->scan, (unsigned char)*p->mark, &blank);
        if (p->reason != NULL) return false;
        if (++p->framing > FRAMING_MAX) {
            p->reason = "too much chunk framing";
            return false;
        }
    }
    return true;
}

static int on_body(llhttp_t *l, const char *at, size_t len) {
    struct http_parser *p = l->data;
    if (!scan_framing(p, at)) return HPE_USER;
    if (len == 0) return 0; /* the last piece ended with its bytes */
    p->mark = at + len;
    p->piece = at;
    p->piece_len = len;
    p->framing = 0;
    return HPE_PAUSED;
}

static bool token_char(unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* The request line and the fields again, by rules that do not depend on llhttp's version. head ends with an
   empty line and passed scan_byte. Returns what is wrong, or NULL. */
static const char *check_head(const char *head, size_t len) {
    const char *end = memchr(head, '\r', len);
    const char *target = memchr(head, ' ', (size_t)(end - head));
    if (target == NULL || target == head) return "no request line";
    target++;
    const char *version = memchr(target, ' ', (size_t)(end - target));
    if (version == NULL) return "no HTTP version";
    if (*target != '/') return "a target that is not a path";
    for (const char *c = target; c < version; c++)
        if (*c == '#' || (unsigned char)*c >= 0x80) return "a character that no target may hold";
    version++;
    if (end - version != 8 || memcmp(version, "HTTP/1.", 7) != 0 || (version[7] != '0' && version[7] != '1'))
        return "a version other than HTTP/1.0 and HTTP/1.1";
    for (const char *line = end + 2; line[0] != '\r'; line = end + 2) {
        end = memchr(line, '\r', (size_t)(head + len - line));
        const char *colon = line;
        while (token_char((unsigned char)*colon))
            colon++;
        if (colon == line || *colon != ':') return "a malformed header name";
    }
    return NULL;
}

/* Trims the field values and ends names and values with NUL: only once llhttp no longer needs the bytes. */
static void terminate(struct http_request *r) {
    for (size_t i = 0; i < r->header_count; i++) {
        struct http_header *h = &r->headers[i];
        char *name = (char *)h->name, *value = name + h->value_len + 1;
        name[h->value_len] = '\0';
        while (*value == ' ' || *value == '\t')
            value++;
        char *end = value;
        while (*end != '\r')
            end++;
        while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
            end--;
        h->value = value;
        h->value_len = (size_t)(end - value);
    }
    for (size_t i = 0; i < r->header_count; i++)
        ((char *)r->headers[i].value)[r->headers[i].value_len] = '\0';
}

/* The value of a field that may occur once; *twice says that it occurs more often. */
static const char *single(const struct http_request *r, const char *name, bool *twice) {
    const char *found = NULL;
    for (size_t i = 0; i < r->header_count; i++) {
        if (strcasecmp(r->headers[i].name, name) != 0) continue;
        if (found != NULL) *twice = true;
        found = r->headers[i].value;
    }
    return found;
}

/* Whether a comma-separated field, in any of its lines, has this item. */
static bool has_item(const struct http_request *r, const char *name, const char *item) {
    size_t len = strlen(item);
    for (size_t i = 0; i < r->header_count; i++) {
        if (strcasecmp(r->headers[i].name, name) != 0) continue;
        for (const char *at = r->headers[i].value; *at != '\0';) {
            at += strspn(at, " \t,");
            size_t part = strcspn(at, ",");
            size_t trimmed = part;
            while (trimmed > 0 && (at[trimmed - 1] == ' ' || at[trimmed - 1] == '\t'))
                trimmed--;
            if (trimmed == len && strncasecmp(at, item, len) == 0) return true;
            at += part;
        }
    }
    return false;
}

static const char *check_framing(struct http_request *r) {
    bool twice = false;
    const char *length = single(r, "Content-Length", &twice);
    if (twice) return "more than one Content-Length";
    const char *coding = single(r, "Transfer-Encoding", &twice);
    if (twice) return "more than one Transfer-Encoding";
    single(r, "Host", &twice);
    if (twice) return "more than one Host";
    const char *expect = single(r, "Expect", &twice);
    if (twice) return "more than one Expect";
    if (coding != NULL && length != NULL && !testing_off("framing"))
        return "both Content-Length and Transfer-Encoding";
    if (coding != NULL && strcasecmp(coding, "chunked") != 0) return "a Transfer-Encoding other than chunked";
    if (coding != NULL && r->minor == 0) return "Transfer-Encoding in HTTP/1.0";
    if (length != NULL) {
        uint64_t value;
        if (!text_u64(length, strlen(length), &value) || value > INT64_MAX)
            return "a Content-Length that is no number";
        r->content_length = (int64_t)value;
    }
    r->chunked = coding != NULL;
    if (r->chunked) r->content_length = -1;
    r->expect_continue = expect != NULL && r->minor > 0 && strcasecmp(expect, "100-continue") == 0;
    return NULL;
}

static enum http_event head_complete(struct http_parser *p) {
    struct http_request *r = &p->request;
    const char *wrong = check_head(p->head.data, p->head.len);
    if (wrong != NULL) return bad(p, 400, wrong);
    llhttp_errno_t e = llhttp_execute(&p->llhttp, p->head.data, p->head.len);
    if (e != HPE_PAUSED) {
        /* llhttp's texts name its own states; a known method is all that is left to fail in ordinary traffic.
         */
        if (p->status == 0 && e == HPE_INVALID_METHOD) return bad(p, 400, "an unknown method");
        return bad(p, p->status != 0 ? p->status : 400, p->status != 0 ? p->reason : "a malformed request");
    }
    r->method = llhttp_method_name((llhttp_method_t)p->llhttp.method);
    r->minor = p->llhttp.http_minor;
    terminate(r);
    ((char *)r->target)[p->target_len] = '\0';
    char *query = strchr(r->target, '?');
    if (query != NULL) *query++ = '\0';
    r->query = query != NULL ? query : strchr(r->target, '\0');
    wrong = check_framing(r);
    if (wrong != NULL) return bad(p, 400, wrong);
    r->upgrade = has_item(r, "Connection", "upgrade") && http_header(r, "Upgrade") != NULL;
    r->keep_alive =
        r->minor > 0 ? !has_item(r, "Connection", "close") : has_item(r, "Connection", "keep-alive");
    p->left = r->chunked ? 0 : (uint64_t)r->content_length;
    p->stage = r->chunked ? STAGE_CHUNKED : STAGE_LENGTH;
    p->scan = (struct scan){.line_begins = true};
    if (r->chunked) llhttp_resume(&p->llhttp);
    return HTTP_HEADERS;
}

static enum http_event parse_head(struct http_parser *p, const char *data, size_t len, size_t *used) {
    size_t i = 0;
    bool blank = false;
    /* An empty line before a request is skipped, once: some clients end a body with it. */
    while (i < len && !blank) {
        const char *wrong = scan_byte(&p->scan, (unsigned char)data[i++], &blank);
        if (wrong != NULL) return bad(p, 400, wrong);
    }
    *used = i;
    if (!buf_append(&p->head, data, i)) {
        bool large = p->head.len + i > LIMIT_HEAD;
        return bad(p, large ? 431 : 503, large ? "a head of more than 64 KiB" : "out of memory");
    }
    if (!blank) return HTTP_MORE;
    if (p->head.len == 2) {
        if (p->complete) return bad(p, 400, "empty lines instead of a request");
        p->complete = true;
        buf_clear(&p->head);
        size_t more = 0;
        enum http_event e = parse_head(p, data + i, len - i, &more);
        *used = i + more;
        return e;
    }
    p->complete = false;
    return head_complete(p);
}

static enum http_event parse_length(struct http_parser *p, const char *data, size_t len, size_t *used,
                                    const char **body, size_t *body_len) {
    if (p->left == 0) {
        p->stage = STAGE_DONE;
        return HTTP_DONE;
    }
    if (len == 0) return HTTP_MORE;
    *body = data;
    *body_len = len < p->left ? len : (size_t)p->left;
    *used = *body_len;
    p->left -= *body_len;
    return HTTP_BODY;
}

static enum http_event parse_chunked(struct http_parser *p, const char *data, size_t len, size_t *used,
                                     const char **body, size_t *body_len) {
    p->mark = data;
    p->piece_len = 0;
    llhttp_errno_t e = llhttp_execute(&p->llhttp, data, len);
    const char *end = e == HPE_OK ? data + len : llhttp_get_error_pos(&p->llhttp);
    if (e != HPE_OK && e != HPE_PAUSED) return bad(p, 400, e == HPE_USER ? p->reason : "malformed chunks");
    if (e == HPE_PAUSED) llhttp_resume(&p->llhttp);
    if (p->piece_len > 0) {
        *used = (size_t)(end - data);
        *body = p->piece;
        *body_len = p->piece_len;
        return HTTP_BODY;
    }
    if (!scan_framing(p, end)) return bad(p, 400, p->reason);
    *used = (size_t)(end - data);
    if (!p->complete) return HTTP_MORE;
    p->stage = STAGE_DONE;
    return HTTP_DONE;
}

enum http_event http_parse(struct http_parser *p, const char *data, size_t len, size_t *used,
                           const char **body, size_t *body_len) {
    *used = 0;
    *body = NULL;
    *body_len = 0;
    switch (p->stage) {
    case STAGE_HEAD:
        return parse_head(p, data, len, used);
    case STAGE_LENGTH:
        return parse_length(p, data, len, used, body, body_len);
    case STAGE_CHUNKED:
        return len == 0 ? HTTP_MORE : parse_chunked(p, data, len, used, body, body_len);
    case STAGE_DONE:
        return HTTP_DONE;
    case STAGE_BAD:
        break;
    }
    return HTTP_BAD;
}

const char *http_header(const struct http_request *r, const char *name) {
    for (size_t i = 0; i < r->header_count; i++)
        if (strcasecmp(r->headers[i].name, name) == 0) return r->headers[i].value;
    return NULL;
}
