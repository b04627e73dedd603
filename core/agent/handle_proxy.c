/* Requests to a port inside the sandbox. Of the client's bytes the backend gets exactly the one request that
   the parser understood; of the backend's the client gets everything, and then the connection ends. Only when
   the backend has agreed to an upgrade do bytes flow as they are. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/conn.h"
#include "agent/handle_proxy.h"
#include "agent/host.h"
#include "agent/proxy_head.h"
#include "agent/route.h"
#include "agent/syscalls.h"
#include "util/testing.h"
#include "wire/limits.h"

#define QUEUE_MAX    (EXCHANGE_HIGH + MIB(1))
#define QUIET_TUNNEL 10 /* looks of the timer */

void handle_proxy_fail(struct proxy *p, const char *what) {
    if (p->answered) {
        exchange_abort(p->x);
        return;
    }
    p->answered = true;
    exchange_error(p->x, WIRE_UNREACHABLE, "port %d: %s", p->port, what);
}

static void hang_up(struct proxy *p) {
    loop_unwatch(&p->backend);
    if (p->fd >= 0) close(p->fd);
    p->fd = -1;
}

void handle_proxy_close(struct exchange *x) {
    struct proxy *p = x->ctx;
    hang_up(p);
    loop_untimer(&p->timer);
    buf_free(&p->out);
    buf_free(&p->head);
    free(p);
}

static void set_events(struct proxy *p) {
    if (p->fd < 0) return;
    uint32_t events = p->held ? 0 : EPOLLIN;
    if (!p->connected || (p->out.len > p->out_at && !p->deaf)) events |= EPOLLOUT;
    if (p->backend.ready == NULL) {
        if (events == 0) return; /* it has hung up already, which would be reported again and again */
        if (!loop_watch(&p->backend, p->fd, events, handle_proxy_backend))
            handle_proxy_fail(p, "out of memory");
        return;
    }
    loop_rewatch(&p->backend, events);
}

/* To the backend */

static void flush(struct proxy *p) {
    while (p->connected && !p->deaf && p->out.len > p->out_at) {
        ssize_t n = send(p->fd, p->out.data + p->out_at, p->out.len - p->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) break;
        /* It may have answered early and stopped listening: what it said is still read. */
        if (n < 0) p->deaf = true;
        if (n > 0) p->out_at += (size_t)n;
    }
    if (p->out_at == p->out.len || p->deaf) {
        buf_clear(&p->out);
        p->out_at = 0;
        if (p->complete && p->tunnel && !p->deaf) shutdown(p->fd, SHUT_WR);
    } else if (p->out_at > KIB(64)) {
        buf_consume(&p->out, p->out_at);
        p->out_at = 0;
    }
    if (p->out.len - p->out_at < EXCHANGE_LOW && p->connected) exchange_resume(p->x);
}

static bool on_body(struct exchange *x, const char *data, size_t len) {
    struct proxy *p = x->ctx;
    p->active = true;
    if (p->deaf) return p->tunnel;
    if (x->request->chunked && !p->tunnel) buf_printf(&p->out, "%zx\r\n", len);
    buf_append(&p->out, data, len);
    if (x->request->chunked && !p->tunnel) buf_puts(&p->out, "\r\n");
    if (p->out.failed) {
        exchange_abort(x);
        return false;
    }
    flush(p);
    if (p->out.len - p->out_at >= EXCHANGE_HIGH) exchange_pause(x);
    set_events(p);
    return true;
}

static void on_body_end(struct exchange *x) {
    struct proxy *p = x->ctx;
    if (x->request->chunked && !p->tunnel) buf_puts(&p->out, "0\r\n\r\n");
    /* The end of a request is known by its framing; the end of a tunnel only by that of the connection. */
    if (p->tunnel) p->complete = true;
    flush(p);
    set_events(p);
}

/* From the backend */

static void relay(struct proxy *p, const char *data, size_t len) {
    if (p->left >= 0 && len > (uint64_t)p->left) len = (size_t)p->left;
    if (p->left > 0) p->left -= (int64_t)len;
    exchange_send(p->x, &(struct iovec){.iov_base = (void *)data, .iov_len = len}, 1);
    if (p->left == 0) {
        hang_up(p);
        exchange_end(p->x);
    }
}

static void answer(struct proxy *p, const struct proxy_response *r) {
    struct buf head = BUF_INIT(LIMIT_HEAD + 64);
    bool switched = r->status == 101 && p->upgrade;
    if (switched)
        buf_append(&head, p->head.data, r->head);
    else
        proxy_head_response(p->head.data, r, &head);
    p->answered = true;
    exchange_raw(p->x);
    p->left = -1;
    relay(p, head.data, head.len);
    buf_free(&head);
    p->tunnel = switched || testing_off("proxy-framing");
    p->left = p->tunnel ? -1 : exchange_is_head(p->x) ? 0 : r->length;
    relay(p, p->head.data + r->head, p->head.len - r->head);
    buf_free(&p->head);
    if (p->tunnel) exchange_tunnel(p->x);
}

/* Bytes before the response's head is complete; interim responses (100, 103) are passed over. */
static void gather(struct proxy *p, const char *data, size_t len) {
    struct proxy_response r;
    if (!buf_append(&p->head, data, len)) {
        handle_proxy_fail(p, "the head of its response is too large");
        return;
    }
    for (;;) {
        int found = p->head.len == 0 ? 0 : proxy_head_scan(p->head.data, p->head.len, &r);
        if (found < 0) handle_proxy_fail(p, "what it answers is no HTTP/1 response");
        if (found <= 0) return;
        if (r.status >= 200 || r.status == 101) break;
        buf_consume(&p->head, r.head);
    }
    answer(p, &r);
}

static void backend_ended(struct proxy *p, int error) {
    if (!p->answered)
        handle_proxy_fail(p, error != 0 ? strerror(error) : "it closed the connection without an answer");
    else if (error != 0 || p->left > 0)
        exchange_abort(p->x);
    else
        exchange_end(p->x);
    /* A tunnel stays open for what the client still writes. */
    if (!p->tunnel || error != 0)
        hang_up(p);
    else
        p->held = true;
}

static void receive(struct proxy *p) {
    static char bytes[KIB(64)];
    ssize_t n = recv(p->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        backend_ended(p, n < 0 ? errno : 0);
        return;
    }
    p->active = true;
    if (p->answered)
        relay(p, bytes, (size_t)n);
    else
        gather(p, bytes, (size_t)n);
    if (exchange_pending(p->x) >= EXCHANGE_HIGH) p->held = true;
}

static void on_drain(struct exchange *x) {
    struct proxy *p = x->ctx;
    p->held = false;
    set_events(p);
}

/* Connecting */

static bool connect_now(struct proxy *p) {
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)p->port)};
    struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)p->port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1;
    p->fd = sys_socket(p->second ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (p->fd < 0) return false;
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const struct sockaddr *to = p->second ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4;
    if (connect(p->fd, to, p->second ? sizeof v6 : sizeof v4) < 0 && errno != EINPROGRESS) return false;
    return loop_watch(&p->backend, p->fd, EPOLLOUT, handle_proxy_backend);
}

static void connect_failed(struct proxy *p, int error) {
    hang_up(p);
    if (!p->second && error == ECONNREFUSED) {
        p->second = true;
        if (connect_now(p)) return;
        hang_up(p);
    }
    handle_proxy_fail(p, error == ECONNREFUSED ? "nothing listens there" : strerror(error));
}

static void on_timer(struct timer *t) {
    struct proxy *p = (struct proxy *)((char *)t - offsetof(struct proxy, timer));
    if (!p->connected) {
        hang_up(p);
        handle_proxy_fail(p, "it did not accept the connection in time");
        return;
    }
    /* The client writes no more and nothing has moved: it has gone, and the backend does not notice. In a
       tunnel a closed side is ordinary, so the silence must last longer. */
    p->quiet = p->x->half_closed && !p->active ? p->quiet + 1 : 0;
    if (p->quiet >= (p->tunnel ? QUIET_TUNNEL : 1)) {
        exchange_abort(p->x);
        return;
    }
    p->active = false;
    loop_timer(t, loop_now() + testing_ms(TIMEOUT_PROXY_QUIET), on_timer);
}

void handle_proxy_backend(struct watch *w, uint32_t events) {
    struct proxy *p = (struct proxy *)((char *)w - offsetof(struct proxy, backend));
    if (!p->connected) {
        int error = 0;
        socklen_t size = sizeof error;
        if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0) error = errno;
        if (error != 0) {
            connect_failed(p, error);
            return;
        }
        p->connected = true;
        loop_timer(&p->timer, loop_now() + testing_ms(TIMEOUT_PROXY_QUIET), on_timer);
    }
    if (p->held && (events & (EPOLLHUP | EPOLLERR)) != 0) {
        loop_unwatch(w);
        return;
    }
    flush(p);
    if ((events & ~(uint32_t)EPOLLOUT) != 0 && !p->held) receive(p);
    set_events(p);
}

static void start(struct exchange *x) {
    int port = 0;
    const char *target = proxy_head_target(x->param, &port);
    if (target == NULL) {
        exchange_error(x, WIRE_NO_ROUTE, "no such port: '%.*s'; it may be 1 to 65535",
                       (int)strcspn(x->param, "/"), x->param);
        return;
    }
    struct proxy *p = calloc(1, sizeof *p);
    if (p == NULL) {
        exchange_error(x, WIRE_BUSY, "out of memory");
        return;
    }
    buf_init(&p->out, QUEUE_MAX);
    buf_init(&p->head, LIMIT_HEAD);
    p->x = x;
    p->port = port;
    p->fd = -1;
    /* An upgrade with a body would leave its beginning unclear. */
    p->upgrade = x->request->upgrade && x->request->content_length == 0;
    proxy_head_request(x->request, target, p->upgrade, &p->out);
    x->ctx = p;
    x->on_body = on_body;
    x->on_body_end = on_body_end;
    x->on_drain = on_drain;
    x->on_close = handle_proxy_close;
    exchange_pause(x);
    loop_timer(&p->timer, loop_now() + testing_ms(TIMEOUT_PROXY_CONNECT), on_timer);
    if (p->out.failed)
        handle_proxy_fail(p, "the head of the request is too large");
    else if (!(agent_host() != NULL ? agent_host()->connect : connect_now)(p))
        connect_failed(p, errno);
}

const struct route handle_proxy_routes[] = {
    {"*", "proxy/:rest*", BODY_STREAMED, 0, start},
    {NULL, NULL, BODY_NONE, 0, NULL},
};
