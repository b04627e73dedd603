#include "proxy.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "util/clock.h"

#define STEP_US   250 /* moments are rounded up to these, so that small pieces share a block */
#define LINGER_US 2000000
#define READ_SIZE 16384
#define PARTS     16

static struct pair *pairs, *ready_list, **ready_end = &ready_list, *dead_list;
static size_t count;
static unsigned long last_id;

static void client_ready(struct watch *w, uint32_t events) {
    struct pair *p = (struct pair *)w;
    if (p->dead) return;
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) p->client.readable = true;
    if ((events & EPOLLOUT) != 0) p->client.writable = true;
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) p->hung_up = true;
    pair_wake(p);
}

static void timer_fires(struct timer *t) {
    pair_wake((struct pair *)((char *)t - offsetof(struct pair, timer)));
}

void pair_open(int fd, bool tls) {
    struct pair *p = calloc(1, sizeof *p);
    if (p == NULL) {
        close(fd);
        return;
    }
    p->watch.ready = client_ready;
    p->timer = (struct timer){.at = CLOCK_NEVER, .fire = timer_fires};
    p->id = ++last_id;
    p->tls = tls;
    p->set = table_defaults;
    p->gate = loop_now + p->set.rtt_us * (tls ? 2 : 1);
    buf_init(&p->request_in, HEAD_MAX + 2 * QUEUE_BLOCK);
    buf_init(&p->reply_in, HEAD_MAX + 2 * QUEUE_BLOCK);
    p->next = pairs;
    if (pairs != NULL) pairs->previous = p;
    pairs = p;
    count++;
    if (!stream_open(&p->client, fd, tls) || !loop_watch(fd, &p->watch)) pair_kill(p, false);
}

size_t pair_count(void) {
    return count;
}

void pair_kill(struct pair *p, bool reset) {
    if (p->dead) return;
    p->dead = true;
    count--;
    if (p->upstream != NULL) upstream_put(p->upstream, false);
    p->upstream = NULL;
    stream_close(&p->client, reset);
    queue_clear(&p->up);
    queue_clear(&p->down);
    buf_free(&p->request_in);
    buf_free(&p->reply_in);
    loop_set_timer(&p->timer, CLOCK_NEVER);
    if (p->next != NULL) p->next->previous = p->previous;
    if (p->previous != NULL)
        p->previous->next = p->next;
    else
        pairs = p->next;
    p->next = dead_list;
    dead_list = p;
}

void pair_free_all(void) {
    while (pairs != NULL)
        pair_kill(pairs, true);
    ready_list = NULL;
    ready_end = &ready_list;
    pair_free_dead();
}

/* Only between turns, when no event of this turn can name them any more; those that still stand in the ready
 * list wait for it. */
void pair_free_dead(void) {
    struct pair *kept = NULL;
    while (dead_list != NULL) {
        struct pair *p = dead_list;
        dead_list = p->next;
        if (p->queued && ready_list != NULL) {
            p->next = kept;
            kept = p;
        } else
            free(p);
    }
    dead_list = kept;
}

int64_t pair_due(const struct pair *p, int64_t distance_us) {
    (void)p;
    return distance_us <= 0 ? 0 : (loop_now + distance_us + STEP_US - 1) / STEP_US * STEP_US;
}

size_t pair_limit(const struct pair *p) {
    if (p->set.window > 0) return p->set.window;
    return p->set.rtt_us > 0 ? (size_t)64 << 20 : (size_t)1 << 20;
}

void pair_next_request(struct pair *p) {
    p->reply = REPLY_IDLE;
    queue_clear(&p->up);
    if (p->request == REQUEST_DONE || p->request_body.done)
        p->request = p->last ? REQUEST_DEAF : REQUEST_HEAD;
    else
        p->request = REQUEST_DISCARD;
}

/* -- what the client sends */

static void client_is_gone(struct pair *p) {
    if (p->upstream == NULL && p->reply == REPLY_IDLE && p->down.bytes == 0)
        pair_kill(p, false);
    else if (p->reply == REPLY_IDLE) {
        p->last = true;
        p->request = REQUEST_DEAF;
    } else
        p->abandoned = true;
}

static bool read_head(struct pair *p) {
    struct head head;
    if (p->request_in.len > 0) {
        int whole = head_parse(&head, p->request_in.data, p->request_in.len, false);
        if (whole < 0) {
            p->last = p->request_body.done = true;
            reply_local(p, 400, NULL, NULL);
            return true;
        }
        if (whole > 0) {
            request_begin(p, &head);
            if (!p->dead) buf_consume(&p->request_in, head.len);
            return true;
        }
    }
    char *to = buf_reserve(&p->request_in, READ_SIZE);
    size_t n = to == NULL ? 0 : stream_read(&p->client, to, READ_SIZE);
    p->request_in.len += n;
    if (n == 0 && (p->client.ended || p->client.broken || to == NULL)) client_is_gone(p);
    return n > 0;
}

/* A cut in the middle of the request: what has been let through arrives, then both sides lose the connection.
 */
static size_t until_cut(struct pair *p, size_t len) {
    if (p->fault.kind != FAULT_CUT_REQUEST) return len;
    uint64_t rest = p->fault.bytes > p->request_body_bytes ? p->fault.bytes - p->request_body_bytes : 0;
    if (len < rest) return len;
    p->abandoned = p->cut = true;
    return (size_t)rest;
}

static bool read_body(struct pair *p) {
    int64_t due = pair_due(p, p->set.rtt_us / 2);
    size_t room, taken, n = p->request_in.len;
    if (p->abandoned || p->up.bytes >= pair_limit(p)) return false;
    if (n > 0) {
        taken = body_take(&p->request_body, p->request_in.data, n);
        if (!queue_put(&p->up, due, p->request_in.data, until_cut(p, taken))) pair_kill(p, true);
        if (p->dead) return true;
        buf_consume(&p->request_in, taken);
    } else {
        char *to = queue_room(&p->up, due, &room);
        if (to == NULL) return false;
        if (p->request_body.kind == BODY_LENGTH && room > p->request_body.left)
            room = (size_t)p->request_body.left;
        n = stream_read(&p->client, to, room);
        taken = body_take(&p->request_body, to, n);
        buf_append(&p->request_in, to + taken, n - taken);
        queue_added(&p->up, until_cut(p, taken));
        if (n == 0 && (p->client.ended || p->client.broken)) client_is_gone(p);
    }
    p->request_body_bytes += taken;
    if (p->request_body.bad)
        pair_kill(p, true);
    else if (p->request_body.done)
        p->request = REQUEST_DONE;
    return n > 0;
}

static bool discard_body(struct pair *p) {
    char scratch[READ_SIZE];
    size_t n = p->request_in.len, taken;
    if (n > 0) {
        taken = body_take(&p->request_body, p->request_in.data, n);
        buf_consume(&p->request_in, taken);
    } else {
        n = stream_read(&p->client, scratch, sizeof scratch);
        taken = body_take(&p->request_body, scratch, n);
        buf_append(&p->request_in, scratch + taken, n - taken);
        if (n == 0 && (p->client.ended || p->client.broken)) client_is_gone(p);
    }
    if (p->dead || p->request != REQUEST_DISCARD) return n > 0;
    if (p->request_body.done)
        p->request = p->last ? REQUEST_DEAF : REQUEST_HEAD;
    else if (p->request_body.bad)
        p->last = true;
    return n > 0;
}

static bool read_tunnel(struct pair *p) {
    size_t room;
    if (p->abandoned || p->up_end || p->up.bytes >= pair_limit(p)) return false;
    char *to = queue_room(&p->up, pair_due(p, p->set.rtt_us / 2), &room);
    size_t n = to == NULL ? 0 : stream_read(&p->client, to, room);
    if (n > 0)
        queue_added(&p->up, n);
    else if (p->client.ended)
        p->up_end = true;
    else if (p->client.broken)
        p->abandoned = true;
    return n > 0;
}

static bool ignore_rest(struct pair *p) {
    char scratch[READ_SIZE];
    size_t n = stream_read(&p->client, scratch, sizeof scratch);
    if (n == 0 && (p->client.broken || (p->client.ended && p->down.bytes == 0))) pair_kill(p, false);
    return n > 0;
}

static bool read_request(struct pair *p) {
    if (loop_now < p->gate) return false;
    if (!p->client.handshaken) {
        bool done = stream_handshake(&p->client);
        if (p->client.broken || p->client.ended) pair_kill(p, false);
        return done;
    }
    switch (p->request) {
    case REQUEST_HEAD:
        return read_head(p);
    case REQUEST_BODY:
        return read_body(p);
    case REQUEST_DISCARD:
        return discard_body(p);
    case REQUEST_TUNNEL:
        return read_tunnel(p);
    case REQUEST_DEAF:
        return ignore_rest(p);
    default:
        if (p->hung_up) p->abandoned = true;
        return false;
    }
}

/* -- what goes on */

/* Nobody listens, or the job has no network now. */
static void nobody_there(struct pair *p) {
    int status = p->job->ended ? p->set.gone : p->set.unready;
    if (p->upstream != NULL) upstream_put(p->upstream, false);
    p->upstream = NULL;
    if (status == 0)
        pair_kill(p, true);
    else if (status == 1) {
        queue_clear(&p->up);
        p->reply = REPLY_IDLE;
        p->request = REQUEST_DEAF;
    } else
        reply_local(p, status, NULL, NULL);
}

static bool send_up(struct pair *p) {
    struct iovec parts[PARTS];
    if (p->reply == REPLY_IDLE) return false;
    if (p->upstream == NULL) {
        if (queue_due(&p->up) > loop_now) return false;
        p->upstream = upstream_get(p->job, p->port, p->set.reuse);
        if (p->upstream != NULL) p->upstream->pair = p;
    }
    if (p->upstream == NULL || p->upstream->failed) {
        nobody_there(p);
        return true;
    }
    if (p->upstream->connecting) return false;
    size_t n = stream_write(&p->upstream->stream, parts, queue_ready(&p->up, loop_now, parts, PARTS));
    queue_drop(&p->up, n);
    if (p->upstream->stream.broken) queue_clear(&p->up);
    if (p->up.bytes == 0) {
        if (p->abandoned)
            pair_kill(p, p->cut);
        else if (p->up_end)
            stream_send_end(&p->upstream->stream);
        p->up_end = p->up_end && p->up.bytes > 0;
    }
    return n > 0;
}

static bool send_down(struct pair *p) {
    struct iovec parts[PARTS];
    size_t n = stream_write(&p->client, parts, queue_ready(&p->down, loop_now, parts, PARTS));
    queue_drop(&p->down, n);
    if (p->client.broken) pair_kill(p, true);
    return n > 0;
}

/* Nothing moves any more: what is to happen when, or is it the end? */
static void settle(struct pair *p) {
    if (p->reply == REPLY_IDLE && p->down.bytes == 0 && (p->last || p->cut) &&
        p->requests + p->request_in.len > 0 && p->request != REQUEST_HEAD && !p->lingers) {
        if (p->cut) {
            pair_kill(p, !p->fault.orderly);
            return;
        }
        stream_send_end(&p->client);
        p->lingers = true;
        p->linger_until = loop_now + LINGER_US;
        p->request = REQUEST_DEAF;
    }
    if (p->lingers && loop_now >= p->linger_until) {
        pair_kill(p, false);
        return;
    }
    int64_t moments[] = {p->gate, queue_due(&p->up), queue_due(&p->down),
                         p->lingers ? p->linger_until : CLOCK_NEVER};
    int64_t next = CLOCK_NEVER;
    for (size_t i = 0; i < sizeof moments / sizeof moments[0]; i++)
        if (moments[i] > loop_now && moments[i] < next) next = moments[i];
    loop_set_timer(&p->timer, next);
    if (p->up.bytes == 0) queue_clear(&p->up); /* blocks that were made ready in vain */
    if (p->down.bytes == 0) queue_clear(&p->down);
}

static void run(struct pair *p) {
    for (int rounds = 0; rounds < 32; rounds++) {
        bool moved = read_request(p);
        if (!p->dead && send_up(p)) moved = true;
        if (!p->dead && reply_read(p)) moved = true;
        if (!p->dead && send_down(p)) moved = true;
        if (p->dead) return;
        if (!moved) {
            settle(p);
            return;
        }
    }
    pair_wake(p); /* others are to have their turn */
}

void pair_wake(struct pair *p) {
    if (p->queued || p->dead) return;
    p->queued = true;
    p->next_ready = NULL;
    *ready_end = p;
    ready_end = &p->next_ready;
}

bool pair_run_ready(void) {
    struct pair *list = ready_list;
    ready_list = NULL;
    ready_end = &ready_list;
    while (list != NULL) {
        struct pair *p = list;
        list = p->next_ready;
        p->queued = false;
        if (!p->dead) run(p);
    }
    return ready_list != NULL;
}
