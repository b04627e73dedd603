// links: agent/conn.c agent/turn.c agent/exchange.c agent/http.c agent/loop.c agent/escape.c
/* Whole connections: the bytes come in pieces over a socket, the handlers are small ones of every kind that
   the agent has. Every connection must end, and leave nothing behind. The first byte says how large the
   pieces are, and with its highest bit that there are two sandboxes, each with a token of its own: what ends
   one leaves the other's requests alone. */
#include "agent/agent.h"
#include "agent/conn.h"
#include "agent/loop.h"
#include "agent/route.h"
#include "agent/sandbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire/limits.h"
#include "wire/names.h"

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) abort();                                                                           \
    } while (0)

struct agent_config agent = {.version = "0", .port = 1, .idle_ms = -1, .max_connections = 16};
struct sandbox sandbox_machine = {.id = "", .cwd = "/"};
static struct sandbox guests[2] = {{.id = "a", .cwd = "/"}, {.id = "b", .cwd = "/"}};
static bool with_guests;
static size_t open_exchanges;

void agent_shutdown(int status) {
    (void)status;
}

static void closed(struct exchange *x) {
    free(x->ctx);
    x->ctx = NULL;
    open_exchanges--;
}

static void begin(struct exchange *x) {
    x->ctx = malloc(16);
    x->on_close = closed;
    open_exchanges++;
}

static void answer_at_once(struct exchange *x) {
    struct buf json = BUF_INIT(KIB(1));
    begin(x);
    buf_puts(&json, "{\"ok\":true}");
    exchange_json(x, 200, &json);
}

static void answer_length(struct exchange *x) {
    struct buf json = BUF_INIT(KIB(1));
    begin(x);
    buf_printf(&json, "%zu", x->body.len);
    exchange_header(x, "ETag", "\"1\"");
    exchange_json(x, 200, &json);
}

static bool count_body(struct exchange *x, const char *data, size_t len) {
    if (memchr(data, '!', len) == NULL) return true;
    exchange_error(x, WIRE_INVALID, "'!' is refused");
    return false;
}

static void answer_end(struct exchange *x) {
    exchange_empty(x, 204);
}

static void take_stream(struct exchange *x) {
    begin(x);
    x->on_body = count_body;
    x->on_body_end = answer_end;
}

static void give_more(struct exchange *x) {
    static char block[KIB(48)];
    struct iovec part = {block, sizeof block};
    unsigned char *left = x->ctx;
    while (*left > 0 && exchange_pending(x) < EXCHANGE_HIGH) {
        (*left)--;
        exchange_send(x, &part, 1);
        if (x->lost) return;
    }
    if (*left == 0) exchange_end(x);
}

static void give_stream(struct exchange *x) {
    begin(x);
    *(unsigned char *)x->ctx = 12;
    x->on_drain = give_more;
    exchange_begin(x, 200, "text/plain", -1);
    give_more(x);
}

static void give_less_than_promised(struct exchange *x) {
    struct iovec part = {(char[]){"abc"}, 3};
    begin(x);
    exchange_begin(x, 200, "text/plain", 10);
    exchange_send(x, &part, 1);
    exchange_abort(x);
}

static bool is_of_files(const struct route *r) {
    return strncmp(r->pattern, "v1/files/", 9) == 0;
}

static void end_guest(struct exchange *x) {
    struct buf json = BUF_INIT(KIB(1));
    const struct sandbox *other = x->sandbox == &guests[0] ? &guests[1] : &guests[0];
    begin(x);
    conn_abort_some(other, NULL);
    conn_abort_some(x->sandbox, is_of_files);
    buf_puts(&json, "{}");
    exchange_json(x, 200, &json);
}

static const struct route routes[] = {
    {"DELETE", "v1/sandboxes/other", BODY_NONE, 0, end_guest},
    {"GET", "health", BODY_NONE, 0, answer_at_once},
    {"POST", "v1/exec", BODY_BUFFERED, KIB(4), answer_length},
    {"PUT", "v1/files/write", BODY_STREAMED, 0, take_stream},
    {"GET", "v1/files/read", BODY_NONE, 0, give_stream},
    {"DELETE", "v1/files/delete", BODY_NONE, 0, give_less_than_promised},
};

const struct route *route_find(struct exchange *x, bool *authenticated) {
    const struct http_request *r = x->request;
    x->sandbox = &sandbox_machine;
    const char *token = http_header(r, HEADER_TOKEN);
    *authenticated = token != NULL;
    if (with_guests && token != NULL) x->sandbox = &guests[token[0] == 'b'];
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (strcmp(r->target + (r->target[0] == '/'), routes[i].pattern) == 0) return &routes[i];
    exchange_error(x, WIRE_NO_ROUTE, "no route: %s %s", r->method, r->target);
    return NULL;
}

/* After the peer is gone the connection needs another turn or two of the loop. */
static void stop_when_closed(struct later *l) {
    if (conn_count() == 0)
        loop_stop(0);
    else
        loop_later(l, stop_when_closed);
}

struct peer {
    struct watch watch;
    struct later end;
    const char *data;
    size_t len, piece;
};

static void peer_ready(struct watch *w, uint32_t events) {
    struct peer *p = (struct peer *)w;
    static char sink[KIB(64)];
    if ((events & EPOLLOUT) != 0 && p->len > 0) {
        ssize_t n = send(w->fd, p->data, p->len < p->piece ? p->len : p->piece, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN) p->len = 0;
        if (n > 0) p->data += n, p->len -= (size_t)n;
        if (p->len == 0) {
            shutdown(w->fd, SHUT_WR);
            loop_rewatch(w, EPOLLIN);
        }
    }
    ssize_t n = recv(w->fd, sink, sizeof sink, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        loop_unwatch(w);
        close(w->fd);
        loop_later(&p->end, stop_when_closed);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int ends[2];
    if (size < 2) return 0;
    MUST(loop_init());
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) return 0;
    size_t piece = data[0] & 0x7f;
    with_guests = (data[0] & 0x80) != 0;
    struct peer p = {.data = (const char *)data + 1, .len = size - 1, .piece = piece == 0 ? SIZE_MAX : piece};
    MUST(loop_watch(&p.watch, ends[1], EPOLLIN | EPOLLOUT, peer_ready));
    MUST(conn_open(ends[0]));
    loop_run();
    loop_free();
    MUST(conn_count() == 0 && open_exchanges == 0);
    MUST(sandbox_machine.under_way == 0 && guests[0].under_way == 0 && guests[1].under_way == 0);
    return 0;
}
