// links: agent/http.c agent/http_query.c
/* Requests: the same bytes, whole and in pieces, must give the same events. What passes must be unambiguous.
 */
#include "agent/http.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "util/buf.h"
#include "wire/limits.h"

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) abort();                                                                           \
    } while (0)

struct trace {
    uint64_t hash;
    size_t requests;
    int bad;
};

static void add(struct trace *t, const void *data, size_t len) {
    const unsigned char *bytes = data;
    for (size_t i = 0; i < len; i++)
        t->hash = (t->hash ^ bytes[i]) * 1099511628211u;
}

static void check_head(struct trace *t, const struct http_request *r) {
    int lengths = 0, encodings = 0;
    MUST(r->method != NULL && r->target != NULL && r->query != NULL && r->header_count <= LIMIT_HEADERS);
    MUST(memchr(r->target, '?', strlen(r->target)) == NULL);
    add(t, r->method, strlen(r->method));
    add(t, r->target, strlen(r->target));
    add(t, r->query, strlen(r->query));
    for (size_t i = 0; i < r->header_count; i++) {
        add(t, r->headers[i].name, strlen(r->headers[i].name));
        add(t, r->headers[i].value, r->headers[i].value_len);
        lengths += strcasecmp(r->headers[i].name, "content-length") == 0;
        encodings += strcasecmp(r->headers[i].name, "transfer-encoding") == 0;
        MUST(memchr(r->headers[i].value, '\n', r->headers[i].value_len) == NULL);
        MUST(memchr(r->headers[i].value, '\0', r->headers[i].value_len) == NULL);
    }
    MUST(lengths <= 1 && encodings <= 1 && lengths + encodings <= 1);
    MUST((encodings == 1) == r->chunked && (r->content_length == -1) == r->chunked);
    struct buf value = BUF_INIT(LIMIT_HEAD);
    uint64_t number;
    http_query(r, "path", &value);
    buf_free(&value);
    http_query_u64(r, "offset", &number);
    http_query_bool(r, "recursive", false);
    http_header(r, "X-Sandbox-Token");
}

static struct trace run(const uint8_t *data, size_t size, size_t piece) {
    struct trace t = {.hash = 14695981039346656037u};
    struct http_parser *p = http_new();
    int64_t left = 0;
    bool chunked = false;
    if (p == NULL) return t;
    for (size_t at = 0; at < size && t.bad == 0;) {
        size_t len = size - at < piece ? size - at : piece;
        /* Memory of exactly that size: a parser that keeps a pointer into it, or reads past it, is seen. */
        char *copy = malloc(len);
        MUST(copy != NULL);
        memcpy(copy, data + at, len);
        size_t used_here = 0;
        for (bool more = true; more;) {
            const char *body = NULL;
            size_t used = 0, body_len = 0;
            enum http_event event = http_parse(p, copy + used_here, len - used_here, &used, &body, &body_len);
            MUST(used <= len - used_here);
            used_here += used;
            switch (event) {
            case HTTP_MORE:
                MUST(used_here == len);
                more = false;
                break;
            case HTTP_HEADERS:
                check_head(&t, http_request(p));
                chunked = http_request(p)->chunked;
                left = http_request(p)->content_length;
                break;
            case HTTP_BODY:
                MUST(body_len > 0 && body >= copy && body + body_len <= copy + len);
                add(&t, body, body_len);
                left -= (int64_t)body_len;
                MUST(chunked || left >= 0);
                break;
            case HTTP_DONE:
                MUST(chunked || left == 0);
                t.requests++;
                add(&t, "|", 1);
                http_next(p);
                break;
            case HTTP_BAD:
                MUST(http_bad_status(p) >= 400 && http_bad_status(p) < 600 && http_bad_reason(p) != NULL);
                t.bad = http_bad_status(p);
                more = false;
                break;
            }
        }
        free(copy);
        at += len;
    }
    http_free(p);
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct trace whole = run(data, size, SIZE_MAX), bytes = run(data, size, 1), pieces = run(data, size, 7);
    MUST(whole.requests == bytes.requests && whole.bad == bytes.bad && whole.hash == bytes.hash);
    MUST(whole.requests == pieces.requests && whole.bad == pieces.bad && whole.hash == pieces.hash);
    return 0;
}
