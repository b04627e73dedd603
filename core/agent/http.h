/* HTTP/1.1 requests: the only door to llhttp. Bytes in, a struct out; no socket, no loop, so it is fuzzed as
   it is. Only unambiguous framing passes: see http.c for the list of what is refused. */
#ifndef AGENT_HTTP_H
#define AGENT_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"

struct http_header {
    const char *name; /* as sent; compare without case */
    const char *value;
    size_t value_len;
};

struct http_request {
    const char *method; /* "GET" and so on, upper case */
    const char *target; /* the raw path without query, NUL-terminated */
    char *query;        /* raw, without '?'; "" when there is none */
    struct http_header *headers;
    size_t header_count;
    int64_t content_length; /* -1 when chunked; 0 when there is no body */
    bool chunked;
    bool keep_alive;
    bool expect_continue;
    bool upgrade;
    int minor; /* HTTP/1.minor */
};

enum http_event {
    HTTP_MORE,    /* everything given was used; give more */
    HTTP_HEADERS, /* parser->request is complete and valid until http_next; body, if any, follows */
    HTTP_BODY,    /* *body, *body_len are a piece of the body (pointing into the given bytes) */
    HTTP_DONE,    /* the request is complete; http_next prepares for the one after it */
    HTTP_BAD      /* parser->status and parser->reason say why; the connection must close after the answer */
};

struct http_parser; /* allocated while a request is under way; about 200 bytes plus its head */

struct http_parser *http_new(void);
void http_free(struct http_parser *p); /* NULL does nothing */

/* Takes bytes until the next event. *used says how many of them are consumed: give the rest again. */
enum http_event http_parse(struct http_parser *p, const char *data, size_t len, size_t *used,
                           const char **body, size_t *body_len);
void http_next(struct http_parser *p);

const struct http_request *http_request(const struct http_parser *p);
int http_bad_status(const struct http_parser *p);
const char *http_bad_reason(const struct http_parser *p);

const char *http_header(const struct http_request *r, const char *name); /* the first of that name, or NULL */

/* Finds a query parameter (the last of that name) and decodes it into out. False when absent. */
bool http_query(const struct http_request *r, const char *name, struct buf *out);
bool http_query_bool(const struct http_request *r, const char *name,
                     bool otherwise); /* true 1 false 0, else `otherwise` */
int http_query_u64(const struct http_request *r, const char *name,
                   uint64_t *out); /* 1 found, 0 absent, -1 malformed */

#endif
