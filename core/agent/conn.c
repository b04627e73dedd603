#include "agent/conn.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/turn.h"
#include "util/clock.h"
#include "util/testing.h"
#include "wire/limits.h"

#define REFUSED_MAX 64 /* connections over the limit that are told so; others are closed without a word */
#define ROUNDS      16 /* refills of one connection in one turn of the loop, so that the others get theirs */

static struct conn *all;
static size_t count, refused, untrusted_bytes;
static bool ending;

/* Every read goes here first: what is parsed at once is never copied, and an idle connection owns no buffer.
 */
static char scratch[KIB(256)];

static void conn_free(struct conn *c) {
    if (c->turn != NULL) {
        turn_release(c->turn, true);
        turn_free(c->turn);
    }
    loop_unwatch(&c->watch);
    loop_untimer(&c->timer);
    loop_unlater(&c->later);
    buf_free(&c->in);
    untrusted_bytes -= c->held;
    close(c->fd);
    *c->link = c->next;
    if (c->next != NULL) c->next->link = c->link;
    if (c->refused)
        refused--;
    else
        count--;
    free(c);
}

static bool wants_bytes(const struct conn *c) {
    const struct turn *t = c->turn;
    if (c->lingering || t == NULL) return true;
    if (t->tunnel) return !t->paused;
    if (t->aborted || (t->close && t->ended)) return false;
    return !t->received_all && !(t->paused && !t->drop);
}

/* Gives bytes to the parser and what it finds to the turn; returns how many were used. */
static size_t feed(struct conn *c, const char *data, size_t len) {
    size_t left = len;
    while (!c->broken && wants_bytes(c)) {
        struct turn *t = c->turn;
        if (t == NULL) {
            if (left == 0 || ending) break;
            t = c->turn = turn_new(c);
            if (t == NULL) {
                c->broken = true;
                break;
            }
        }
        size_t used = left, body_len = 0;
        const char *body = NULL;
        if (t->tunnel) {
            if (left == 0) break;
            if (t->x.on_body != NULL) t->x.on_body(&t->x, data, left);
            return len;
        }
        enum http_event e = http_parse(t->parser, data, left, &used, &body, &body_len);
        if (used > 0) data += used; /* without bytes there may be no address to add to */
        left -= used;
        if (!t->headed) t->head += used;
        if (e == HTTP_HEADERS) turn_head(t);
        if (e == HTTP_BODY) turn_body(t, body, body_len);
        if (e == HTTP_DONE) turn_body_end(t);
        if (e == HTTP_BAD) {
            int status = http_bad_status(t->parser);
            turn_bad(t, status,
                     status == 431   ? WIRE_TOO_LARGE
                     : status == 503 ? WIRE_BUSY
                                     : WIRE_INVALID,
                     http_bad_reason(t->parser));
        }
        if (e == HTTP_MORE) break;
    }
    return len - left;
}

static void feed_kept(struct conn *c) {
    if (c->in.len == 0 && (c->turn == NULL || !c->turn->headed)) return;
    buf_consume(&c->in, feed(c, c->in.data, c->in.len));
    if (c->in.len == 0 && c->in.data != NULL) buf_free(&c->in);
}

/* Reading */

static size_t read_size(const struct conn *c) {
    if (c->turn != NULL && c->turn->headed && wants_bytes(c)) return sizeof scratch;
    return LIMIT_PIPELINE - (c->in.len < LIMIT_PIPELINE ? c->in.len : LIMIT_PIPELINE);
}

static void receive(struct conn *c) {
    size_t size = read_size(c);
    if (size == 0 || c->eof) return;
    ssize_t n = recv(c->fd, scratch, size, MSG_DONTWAIT);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR) c->broken = true;
        return;
    }
    if (n == 0) {
        c->eof = true;
        if (c->turn != NULL) c->turn->x.half_closed = true;
        return;
    }
    size_t got = (size_t)n;
    c->took = true;
    if (c->lingering) {
        c->lingered += got;
        return;
    }
    size_t used = c->in.len == 0 ? feed(c, scratch, got) : 0;
    if (used < got && !buf_append(&c->in, scratch + used, got - used)) c->broken = true;
    if (used == 0) feed_kept(c);
}

/* What comes next */

static void refill(struct conn *c) {
    struct turn *t = c->turn;
    for (int round = 0; round < ROUNDS && t->was_full && exchange_pending(&t->x) < EXCHANGE_LOW; round++) {
        t->was_full = false;
        if (t->ended || t->aborted || t->x.on_drain == NULL) return;
        t->x.on_drain(&t->x);
        if (!exchange_flush(t)) c->broken = true;
    }
    if (t->was_full && !c->blocked) conn_wake(c);
}

static void say_continue(struct turn *t) {
    if (!t->continue_due || t->begun || t->paused || t->drop) return;
    t->continue_due = false;
    buf_puts(&t->out, "HTTP/1.1 100 Continue\r\n\r\n");
}

/* The answer is out: the next request, or the end. */
static void turn_complete(struct conn *c) {
    struct turn *t = c->turn;
    if (!t->received_all && !t->close && !c->eof && !testing_off("drain")) {
        t->drop = true;
        return;
    }
    bool close_now = t->close || ending || (c->eof && c->in.len == 0);
    bool more_may_come = !c->eof && (!t->received_all || c->in.len > 0 || t->x.request->keep_alive);
    turn_release(t, false);
    turn_free(t);
    c->turn = NULL;
    c->wait = WAIT_NOTHING;
    if (!close_now) return;
    c->lingering = true;
    buf_free(&c->in);
    if (!more_may_come || shutdown(c->fd, SHUT_WR) < 0) c->broken = true;
}

static enum conn_wait waits_for(const struct conn *c) {
    const struct turn *t = c->turn;
    if (c->lingering) return WAIT_LINGER;
    if (t == NULL) return WAIT_REQUEST;
    if (!t->headed && !t->begun) return WAIT_HEAD;
    if (!exchange_drained(t)) return WAIT_WRITE;
    return wants_bytes(c) && (!t->tunnel || t->shut) ? WAIT_BODY : WAIT_HANDLER;
}

static void on_timer(struct timer *timer);

/* The timer is moved only when it would fire too late; when it fires too early it is set again. */
static void set_deadline(struct conn *c) {
    static const int64_t limits[] = {
        [WAIT_NOTHING] = -1,        [WAIT_REQUEST] = TIMEOUT_IDLE, [WAIT_HEAD] = TIMEOUT_HEAD,
        [WAIT_BODY] = TIMEOUT_BODY, [WAIT_WRITE] = TIMEOUT_WRITE,  [WAIT_LINGER] = TIMEOUT_LINGER,
        [WAIT_HANDLER] = -1,
    };
    enum conn_wait wait = waits_for(c);
    bool renew = wait != c->wait || (wait == WAIT_BODY && c->took) || (wait == WAIT_WRITE && c->gave);
    c->took = c->gave = false;
    if (renew) c->deadline = limits[wait] < 0 ? CLOCK_NEVER : loop_now() + testing_ms(limits[wait]);
    c->wait = wait;
    if (testing_off("deadlines")) return;
    if (c->deadline == CLOCK_NEVER || (c->timer.slot != 0 && c->timer.due_ms <= c->deadline)) return;
    if (!loop_timer(&c->timer, c->deadline, on_timer)) c->broken = true;
}

static void set_events(struct conn *c) {
    const struct turn *t = c->turn;
    bool held = t != NULL && t->paused && !t->drop;
    uint32_t events = c->eof || c->half ? 0 : EPOLLRDHUP;
    if (!c->eof && !held && read_size(c) > 0) events |= EPOLLIN;
    if (c->blocked) events |= EPOLLOUT;
    loop_rewatch(&c->watch, events);
}

/* One step: what was kept is used, what is queued is sent, what is complete is ended. True: something
 * changed. */
static bool step(struct conn *c) {
    size_t kept = c->in.len;
    if (!c->lingering && wants_bytes(c)) feed_kept(c);
    struct turn *t = c->turn;
    if (t == NULL || c->broken) return false;
    if (t->tunnel && c->eof && c->in.len == 0 && t->x.on_body_end != NULL) {
        void (*end)(struct exchange *) = t->x.on_body_end;
        t->x.on_body_end = NULL;
        end(&t->x);
    }
    say_continue(t);
    if (!exchange_flush(t) || t->aborted) {
        c->broken = true;
        return false;
    }
    refill(c);
    if (t->ended && !t->aborted && exchange_drained(t)) {
        if (!t->tunnel || (c->eof && c->in.len == 0))
            turn_complete(c);
        else if (!t->shut)
            t->shut = shutdown(c->fd, SHUT_WR) == 0; /* the other direction goes on */
    }
    if (c->lingering) return false;
    return c->turn != t || c->in.len != kept;
}

/* Nothing is left to be done: the peer is gone, or sends no more of a request that is not complete. Such a
   request is neither run nor answered. */
static bool is_over(const struct conn *c) {
    const struct turn *t = c->turn;
    size_t taken = c->trusted ? LIMIT_LINGER : LIMIT_DRAIN;
    if (c->lingering) return c->eof || (c->lingered > taken && !testing_off("drain-limit"));
    if (t == NULL) return ending || (c->eof && c->in.len == 0);
    if (t->aborted) return true;
    return c->eof && c->in.len == 0 && !t->tunnel && wants_bytes(c) && !(t->drop && t->ended);
}

/* Those who have not shown the token share one small store: with it full, who has much of it goes. */
static void account(struct conn *c) {
    const struct turn *t = c->turn;
    size_t now = c->trusted ? 0 : c->in.cap + (t != NULL && !t->headed ? t->head : 0);
    untrusted_bytes += now - c->held;
    c->held = now;
    if (untrusted_bytes > LIMIT_UNTRUSTED && now > KIB(4) && !testing_off("untrusted")) c->broken = true;
}

static void settle(struct later *later) {
    struct conn *c = (struct conn *)((char *)later - offsetof(struct conn, later));
    int rounds = 0;
    while (rounds < ROUNDS && step(c))
        rounds++;
    if (rounds == ROUNDS) conn_wake(c);
    if (is_over(c)) c->broken = true;
    account(c);
    if (!c->broken) set_deadline(c);
    if (c->broken)
        conn_free(c);
    else
        set_events(c);
}

void conn_wake(struct conn *c) {
    loop_later(&c->later, settle);
}

static void on_timer(struct timer *timer) {
    struct conn *c = (struct conn *)((char *)timer - offsetof(struct conn, timer));
    if (c->deadline <= loop_now()) {
        if (c->wait == WAIT_HEAD)
            turn_bad(c->turn, 408, WIRE_TIMEOUT, "the head of the request did not come in time");
        else if (c->wait == WAIT_BODY)
            turn_bad(c->turn, 408, WIRE_TIMEOUT, "the body of the request did not come in time");
        else
            c->broken = true;
    }
    conn_wake(c);
}

static void on_ready(struct watch *w, uint32_t events) {
    struct conn *c = (struct conn *)((char *)w - offsetof(struct conn, watch));
    bool gone = (events & (EPOLLERR | EPOLLHUP)) != 0;
    bool readable = (events & EPOLLIN) != 0;
    if (gone && !(readable && wants_bytes(c))) c->broken = true;
    if (events & EPOLLOUT) c->blocked = false;
    if (!c->broken && readable)
        receive(c);
    else if (events & EPOLLRDHUP)
        c->half = true; /* seen when reading goes on; until then it would be reported again and again */
    conn_wake(c);
}

/* Connections that never showed the token cannot keep out those that might: the oldest of them makes room. */
static bool evict(void) {
    struct conn *oldest = NULL;
    for (struct conn *c = all; c != NULL; c = c->next)
        if (!c->trusted && !c->refused && !c->broken) oldest = c;
    if (oldest == NULL || testing_off("eviction")) return false;
    oldest->broken = true;
    conn_wake(oldest);
    return true;
}

/* Over the limit: said in as few bytes as possible. */
static void refuse(struct conn *c) {
    static const char answer[] =
        "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    c->refused = c->lingering = true;
    if (send(c->fd, answer, sizeof answer - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ||
        shutdown(c->fd, SHUT_WR) < 0)
        c->broken = true;
    conn_wake(c);
}

bool conn_open(int fd) {
    bool full = count >= agent.max_connections && !testing_off("connection-limit") && !evict();
    struct conn *c = full && refused >= REFUSED_MAX ? NULL : calloc(1, sizeof *c);
    if (c == NULL || !loop_watch(&c->watch, fd, EPOLLIN | EPOLLRDHUP, on_ready)) {
        free(c);
        close(fd);
        return false;
    }
    c->fd = fd;
    buf_init(&c->in, sizeof scratch + LIMIT_PIPELINE);
    c->next = all;
    c->link = &all;
    if (all != NULL) all->link = &c->next;
    all = c;
    if (full)
        refused++;
    else
        count++;
    if (full)
        refuse(c);
    else
        set_deadline(c);
    if (c->broken) conn_wake(c);
    return !full;
}

size_t conn_count(void) {
    return count;
}

void conn_abort_some(const struct sandbox *sandbox, bool (*which)(const struct route *r)) {
    for (struct conn *c = all; c != NULL; c = c->next)
        if (c->turn != NULL && c->turn->authenticated && c->turn->x.sandbox == sandbox &&
            (which == NULL || (c->turn->route != NULL && which(c->turn->route))))
            exchange_abort(&c->turn->x);
}

void conn_make_room(const struct conn *but) {
    struct conn *oldest = NULL;
    if (count <= agent.max_connections - agent.max_connections / 8 || testing_off("host-eviction")) return;
    for (struct conn *c = all; c != NULL; c = c->next)
        if ((c->turn == NULL || !c->turn->authenticated) && !c->refused && !c->broken && c != but) oldest = c;
    if (oldest == NULL) return;
    oldest->broken = true;
    conn_wake(oldest);
}

void conn_close_idle(void) {
    ending = true;
    for (struct conn *c = all; c != NULL; c = c->next) {
        if (c->turn != NULL) c->turn->close = true;
        conn_wake(c);
    }
}

int64_t conn_last_activity(void) {
    return turn_last_activity();
}

size_t conn_open_streams(void) {
    return turn_authenticated();
}
