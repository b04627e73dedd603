#include "agent/proxy_head.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "util/testing.h"
#include "util/text.h"
#include "wire/names.h"

const char *proxy_head_target(const char *param, int *port) {
    size_t digits = strcspn(param, "/");
    uint64_t value;
    if (digits > 5 || !text_u64(param, digits, &value) || value < 1 || value > 65535) return NULL;
    *port = (int)value;
    return param[digits] == '/' ? param + digits : "/";
}

static bool among(const char *name, size_t len, const char *const names[]) {
    for (; *names != NULL; names++)
        if (strlen(*names) == len && strncasecmp(name, *names, len) == 0) return true;
    return false;
}

/* Whether a Connection field names this one. */
static bool nominated(const struct http_request *r, const char *name) {
    size_t len = strlen(name);
    for (size_t i = 0; i < r->header_count; i++) {
        if (strcasecmp(r->headers[i].name, "Connection") != 0) continue;
        for (const char *at = r->headers[i].value; *at != '\0';) {
            at += strspn(at, " \t,");
            size_t part = strcspn(at, " \t,");
            if (part == len && strncasecmp(at, name, len) == 0) return true;
            at += part;
        }
    }
    return false;
}

static void put_field(struct buf *out, const char *name, const char *value) {
    buf_puts(out, name);
    buf_puts(out, ": ");
    buf_puts(out, value);
    buf_puts(out, "\r\n");
}

void proxy_head_request(const struct http_request *r, const char *target, bool upgrade, struct buf *out) {
    /* Content-Length and Transfer-Encoding are written anew from what the parser understood; Expect was
     * answered here. */
    static const char *const dropped[] = {HEADER_TOKEN,
                                          HEADER_KEY,
                                          "Authorization",
                                          "Connection",
                                          "Keep-Alive",
                                          "Proxy-Connection",
                                          "Proxy-Authorization",
                                          "TE",
                                          "Trailer",
                                          "Transfer-Encoding",
                                          "Content-Length",
                                          "Expect",
                                          "Upgrade",
                                          "HTTP2-Settings",
                                          NULL};
    const char *query = r->query;
    buf_printf(out, "%s %s%s%s HTTP/1.%d\r\n", r->method, target, query[0] != '\0' ? "?" : "", query,
               r->minor);
    for (size_t i = 0; i < r->header_count; i++) {
        const struct http_header *h = &r->headers[i];
        if (upgrade && strcasecmp(h->name, "Upgrade") == 0) put_field(out, h->name, h->value);
        bool drop = among(h->name, strlen(h->name), dropped) || nominated(r, h->name);
        if (drop && !(testing_off("proxy-credentials") && strcasecmp(h->name, HEADER_TOKEN) == 0)) continue;
        put_field(out, h->name, h->value);
    }
    if (r->chunked)
        put_field(out, "Transfer-Encoding", "chunked");
    else if (http_header(r, "Content-Length") != NULL)
        buf_printf(out, "Content-Length: %lld\r\n", (long long)r->content_length);
    put_field(out, "Connection", upgrade ? "Upgrade" : "close");
    buf_puts(out, "\r\n");
}

/* The line at data, without its end; *next is where the following one begins. NULL: it has no end yet.
   Servers that write a bare LF are understood: nothing behind the proxy reads their bytes again. */
static const char *line_end(const char *data, const char *end, const char **next) {
    const char *lf = memchr(data, '\n', (size_t)(end - data));
    if (lf == NULL) return NULL;
    *next = lf + 1;
    return lf > data && lf[-1] == '\r' ? lf - 1 : lf;
}

int proxy_head_scan(const char *data, size_t len, struct proxy_response *out) {
    static const char start[] = "HTTP/1.";
    size_t known = len < sizeof start - 1 ? len : sizeof start - 1;
    const char *end = data + len, *next = data;
    if (memcmp(data, start, known) != 0) return -1;
    const char *stop = line_end(data, end, &next);
    if (stop == NULL) return 0;
    uint64_t status;
    if (stop - data < 12 || data[8] != ' ' || !text_u64(data + 9, 3, &status) || status < 100) return -1;
    *out = (struct proxy_response){.status = (int)status, .length = -1};
    for (bool counts = false;;) {
        const char *line = next;
        stop = line_end(line, end, &next);
        if (stop == NULL) return 0;
        if (stop == line) break;
        static const char name[] = "Content-Length:";
        uint64_t length;
        /* A folded line makes one value with the line before it: no number. */
        if (counts && (*line == ' ' || *line == '\t')) out->length = -1;
        if (*line == ' ' || *line == '\t') continue;
        counts = stop - line >= (ptrdiff_t)sizeof name - 1 && strncasecmp(line, name, sizeof name - 1) == 0;
        if (!counts) continue;
        line += sizeof name - 1;
        while (line < stop && (*line == ' ' || *line == '\t'))
            line++;
        bool number = text_u64(line, (size_t)(stop - line), &length) && length <= INT64_MAX;
        out->length = number ? (int64_t)length : -1;
    }
    if (status == 204 || status == 304) out->length = 0;
    out->head = (size_t)(next - data);
    return 1;
}

void proxy_head_response(const char *data, const struct proxy_response *r, struct buf *out) {
    static const char *const dropped[] = {"Connection", "Keep-Alive", "Proxy-Connection", NULL};
    const char *end = data + r->head, *next = data;
    bool drop = false;
    while (next < end) {
        const char *line = next, *stop = line_end(line, end, &next);
        if (stop == NULL || stop == line) break;
        /* A folded line belongs to the field before it. */
        if (*line != ' ' && *line != '\t') {
            const char *colon = memchr(line, ':', (size_t)(stop - line));
            drop = colon != NULL && among(line, (size_t)(colon - line), dropped);
            if (!drop && line > data) buf_puts(out, "\r\n");
        }
        if (!drop) buf_append(out, line, (size_t)(stop - line));
    }
    buf_puts(out, "\r\nConnection: close\r\n\r\n");
}
