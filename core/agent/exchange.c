#include "agent/turn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/escape.h"
#include "util/text.h"
#include "wire/limits.h"
#include "wire/names.h"

#define DIRECT                                                                                               \
    KIB(8) /* at least this much goes to the socket at once; less is gathered until the end of the turn */
#define KEEP_QUEUE KIB(8)
#define MAX_PARTS  16
#define ERROR_TEXT KIB(8)

static struct turn *turn_of(struct exchange *x) {
    return (struct turn *)x;
}

static const char *reason(int status) {
    switch (status) {
    case 200:
        return "OK";
    case 204:
        return "No Content";
    case 206:
        return "Partial Content";
    case 304:
        return "Not Modified";
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 408:
        return "Request Timeout";
    case 409:
        return "Conflict";
    case 410:
        return "Gone";
    case 412:
        return "Precondition Failed";
    case 413:
        return "Content Too Large";
    case 417:
        return "Expectation Failed";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 502:
        return "Bad Gateway";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    case 507:
        return "Insufficient Storage";
    default:
        return "Status";
    }
}

static void put_number(struct buf *b, uint64_t value) {
    char text[TEXT_DIGITS];
    buf_append(b, text, text_digits(text, value, 10));
}

void exchange_header(struct exchange *x, const char *name, const char *value) {
    struct turn *t = turn_of(x);
    /* A line end in a value would be another field, or the body. */
    if (strpbrk(value, "\r\n") != NULL || t->begun) return;
    buf_puts(&t->fields, name);
    buf_puts(&t->fields, ": ");
    buf_puts(&t->fields, value);
    buf_puts(&t->fields, "\r\n");
}

/* What of the request's body is not here yet must be read and dropped before the next request: worth it only
   when it is little and surely comes. */
static bool rest_is_too_long(const struct turn *t) {
    const struct http_request *r = t->x.request;
    if (t->received_all || !t->headed) return false;
    return t->continue_due || (!r->chunked && (uint64_t)r->content_length - t->received > LIMIT_DRAIN);
}

/* length: of the body, -1 unknown, -2 none by the status. */
static bool begin(struct turn *t, int status, const char *type, int64_t length) {
    if (t->begun || t->aborted) {
        exchange_abort(&t->x);
        return false;
    }
    t->begun = true;
    const struct http_request *r = t->x.request;
    if (!r->keep_alive || rest_is_too_long(t)) t->close = true;
    t->chunked = length == -1 && r->minor > 0;
    if (length == -1 && !t->chunked) t->close = true;
    t->bodiless = strcmp(r->method, "HEAD") == 0;
    t->body_left = length < 0 ? -1 : length;
    struct buf *b = &t->out;
    buf_puts(b, "HTTP/1.1 ");
    put_number(b, (uint64_t)status);
    buf_putc(b, ' ');
    buf_puts(b, reason(status));
    if (type != NULL) {
        buf_puts(b, "\r\nContent-Type: ");
        buf_puts(b, type);
    }
    buf_puts(b, t->close ? "\r\nConnection: close\r\n" : "\r\nConnection: keep-alive\r\n");
    if (length >= 0) {
        buf_puts(b, "Content-Length: ");
        put_number(b, (uint64_t)length);
        buf_puts(b, "\r\n");
    } else if (length == -1) {
        buf_puts(b, t->chunked ? "Transfer-Encoding: chunked\r\nX-Accel-Buffering: no\r\n"
                               : "X-Accel-Buffering: no\r\n");
    }
    if (t->fields.len > 0) buf_append(b, t->fields.data, t->fields.len);
    buf_puts(b, "\r\n");
    if (b->failed || t->fields.failed) {
        exchange_abort(&t->x);
        return false;
    }
    if (t->bodiless) t->ended = true;
    conn_wake(t->x.conn);
    return true;
}

void exchange_json(struct exchange *x, int status, struct buf *json) {
    struct turn *t = turn_of(x);
    if (json->failed) {
        buf_free(json);
        exchange_error(x, WIRE_INTERNAL, "the answer did not fit in memory");
        return;
    }
    if (begin(t, status, "application/json", (int64_t)json->len) && !t->bodiless) {
        t->big = *json;
        buf_init(json, json->max);
    }
    buf_free(json);
    t->ended = true;
}

void exchange_empty(struct exchange *x, int status) {
    begin(turn_of(x), status, NULL, status == 204 || status == 304 ? -2 : 0);
    turn_of(x)->ended = true;
}

static void error_answer(struct exchange *x, int status, enum wire_code code, const char *format,
                         va_list args) {
    struct buf text = BUF_INIT(ERROR_TEXT), json = BUF_INIT(8 * ERROR_TEXT);
    if (!buf_vprintf(&text, format, args)) {
        buf_clear(&text);
        buf_puts(&text, codes_name(code));
    }
    buf_puts(&json, "{\"error\":");
    escape_string(&json, text.data, text.len);
    buf_puts(&json, ",\"code\":\"");
    buf_puts(&json, codes_name(code));
    buf_puts(&json, "\"}");
    buf_free(&text);
    exchange_header(x, HEADER_CODE, codes_name(code));
    if (!json.failed) {
        exchange_json(x, status, &json);
    } else {
        buf_free(&json);
        exchange_empty(x, status);
    }
}

void exchange_error(struct exchange *x, enum wire_code code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    error_answer(x, codes_http(code), code, format, args);
    va_end(args);
}

void exchange_error_status(struct exchange *x, int status, enum wire_code code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    error_answer(x, status, code, format, args);
    va_end(args);
}

void exchange_begin(struct exchange *x, int status, const char *content_type, int64_t length) {
    begin(turn_of(x), status, content_type, length);
}

void exchange_raw(struct exchange *x) {
    struct turn *t = turn_of(x);
    t->begun = t->close = true;
    t->body_left = -1;
}

void exchange_tunnel(struct exchange *x) {
    turn_of(x)->tunnel = true;
    conn_wake(x->conn);
}

static size_t queued(const struct turn *t) {
    return t->out.len - t->out_at + t->big.len - t->big_at;
}

/* Drops the first n bytes of what is queued in memory. */
static void queue_sent(struct turn *t, size_t n) {
    size_t from_out = t->out.len - t->out_at;
    if (from_out > n) from_out = n;
    t->out_at += from_out;
    t->big_at += n - from_out;
    if (t->out_at == t->out.len) {
        if (t->out.cap > KEEP_QUEUE)
            buf_free(&t->out);
        else
            buf_clear(&t->out);
        t->out_at = 0;
    } else if (t->out_at > KIB(64) && t->out_at > t->out.len / 2) {
        buf_consume(&t->out, t->out_at);
        t->out_at = 0;
    }
    if (t->big.len > 0 && t->big_at == t->big.len) {
        buf_free(&t->big);
        t->big_at = 0;
    }
}

/* Bytes that the socket took, 0 when it takes nothing now, or -1: it failed. */
static ssize_t send_parts(struct conn *c, struct iovec *iov, size_t count) {
    struct msghdr m = {.msg_iov = iov};
    m.msg_iovlen = (__typeof__(m.msg_iovlen))count; /* an int with musl */
    ssize_t n;
    do
        n = syscall(SYS_sendmsg, c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n > 0) c->gave = true;
    if (n >= 0) return n;
    c->blocked = errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS;
    return c->blocked ? 0 : -1;
}

/* Queues the parts but for their first `skip` bytes. */
static bool queue_parts(struct turn *t, const struct iovec *iov, size_t count, size_t skip) {
    for (size_t i = 0; i < count; i++) {
        size_t from = skip < iov[i].iov_len ? skip : iov[i].iov_len;
        skip -= from;
        if (!buf_append(&t->out, (const char *)iov[i].iov_base + from, iov[i].iov_len - from)) return false;
    }
    return true;
}

static bool send_or_queue(struct turn *t, struct iovec *iov, size_t count, size_t total) {
    struct conn *c = t->x.conn;
    size_t before = t->out.len - t->out_at;
    if (total < DIRECT || c->blocked || c->broken) {
        conn_wake(c);
        return queue_parts(t, iov + 1, count - 1, 0);
    }
    iov[0] =
        (struct iovec){.iov_base = t->out.data == NULL ? NULL : t->out.data + t->out_at, .iov_len = before};
    ssize_t n = send_parts(c, before > 0 ? iov : iov + 1, before > 0 ? count : count - 1);
    if (n < 0) {
        c->broken = true;
        conn_wake(c);
        return true;
    }
    size_t sent = (size_t)n, from_queue = sent < before ? sent : before;
    queue_sent(t, from_queue);
    if (sent == before + total) return true;
    c->blocked = true; /* it took less than all: it is full */
    conn_wake(c);
    return queue_parts(t, iov + 1, count - 1, sent - from_queue);
}

void exchange_send(struct exchange *x, const struct iovec *parts, int count) {
    struct turn *t = turn_of(x);
    if (!t->begun || t->ended || t->aborted) return;
    struct iovec iov[MAX_PARTS + 3];
    while (count > MAX_PARTS) {
        exchange_send(x, parts, MAX_PARTS);
        parts += MAX_PARTS;
        count -= MAX_PARTS;
    }
    size_t n = 2, total = 0;
    for (int i = 0; i < count; i++) {
        if (parts[i].iov_len == 0) continue;
        iov[n++] = parts[i];
        total += parts[i].iov_len;
    }
    if (total == 0) return;
    char size[TEXT_DIGITS + 2], line_end[] = {'\r', '\n'};
    iov[1] = (struct iovec){.iov_base = size, .iov_len = 0};
    if (t->chunked) {
        size_t digits = text_digits(size, total, 16);
        memcpy(size + digits, "\r\n", 2);
        iov[1].iov_len = digits + 2;
        iov[n++] = (struct iovec){.iov_base = line_end, .iov_len = 2};
        total += digits + 4;
    } else if (t->body_left >= 0) {
        if (total > (uint64_t)t->body_left) {
            exchange_abort(x);
            return;
        }
        t->body_left -= (int64_t)total;
    }
    if (!send_or_queue(t, iov, n, total)) exchange_abort(x);
    if (queued(t) >= EXCHANGE_LOW) t->was_full = true;
}

void exchange_end(struct exchange *x) {
    struct turn *t = turn_of(x);
    if (!t->begun || t->ended || t->aborted) return;
    if (t->body_left > 0 || (t->chunked && !buf_puts(&t->out, "0\r\n\r\n"))) {
        exchange_abort(x);
        return;
    }
    t->ended = true;
    conn_wake(x->conn);
}

void exchange_abort(struct exchange *x) {
    turn_of(x)->aborted = true;
    conn_wake(x->conn);
}

size_t exchange_pending(const struct exchange *x) {
    const struct turn *t = (const struct turn *)x;
    return queued(t);
}

bool exchange_is_head(const struct exchange *x) {
    return strcmp(x->request->method, "HEAD") == 0;
}

void exchange_pause(struct exchange *x) {
    turn_of(x)->paused = true;
    conn_wake(x->conn);
}

void exchange_resume(struct exchange *x) {
    turn_of(x)->paused = false;
    conn_wake(x->conn);
}

bool exchange_drained(const struct turn *t) {
    return queued(t) == 0;
}

bool exchange_flush(struct turn *t) {
    struct conn *c = t->x.conn;
    while (queued(t) > 0 && !c->blocked) {
        struct iovec iov[2];
        size_t n = 0;
        if (t->out.len > t->out_at)
            iov[n++] = (struct iovec){t->out.data + t->out_at, t->out.len - t->out_at};
        if (t->big.len > t->big_at)
            iov[n++] = (struct iovec){t->big.data + t->big_at, t->big.len - t->big_at};
        ssize_t sent = send_parts(c, iov, n);
        if (sent < 0) return false;
        queue_sent(t, (size_t)sent);
    }
    return true;
}

void exchange_clear(struct turn *t) {
    buf_free(&t->out);
    buf_free(&t->big);
    buf_free(&t->fields);
    t->out_at = t->big_at = 0;
}
