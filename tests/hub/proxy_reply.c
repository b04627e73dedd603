#include "proxy.h"

#include <stdio.h>
#include <string.h>

#define READ_SIZE 16384

static int64_t reply_due(const struct pair *p) {
    return pair_due(p, p->set.rtt_us / 2 + p->fault.delay_us);
}

/* A lost reply, or the end of a body that is cut. */
static void cut_now(struct pair *p) {
    if (p->upstream != NULL) upstream_put(p->upstream, false);
    p->upstream = NULL;
    p->reply = REPLY_IDLE;
    p->request = REQUEST_DEAF;
    p->cut = true;
    queue_clear(&p->up);
}

void reply_local(struct pair *p, int status, const char *headers, const char *body) {
    struct buf out = BUF_INIT(65536);
    char standard[64];
    bool near = p->reply == REPLY_HEAD; /* the request has already come all the way */
    if (body == NULL || *body == '\0') {
        snprintf(standard, sizeof standard, "{\"error\":\"the jobs proxy says %d\"}", status);
        body = standard;
    }
    /* What is still to come of the request is read when it is little; a big rest is not waited for. */
    if (!p->request_body.done && (p->request_body.kind != BODY_LENGTH || p->request_body.left > 65536))
        p->last = true;
    buf_printf(&out, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s%s",
               status, status < 500 ? "Refused" : "Unavailable", strlen(body), headers != NULL ? headers : "",
               p->last ? "Connection: close\r\n\r\n" : "\r\n");
    if (!p->to_head) buf_puts(&out, body);
    log_reply(p, status);
    int64_t due = near ? reply_due(p) : pair_due(p, p->set.rtt_us + p->fault.delay_us);
    if (out.failed || !queue_put(&p->down, due, out.data, out.len)) pair_kill(p, true);
    buf_free(&out);
    if (!p->dead) pair_next_request(p);
}

static void finish(struct pair *p) {
    if (p->fault.kind == FAULT_LOSE_REPLY) {
        cut_now(p);
        return;
    }
    bool whole = p->request == REQUEST_DONE;
    upstream_put(p->upstream, p->keep_upstream && whole);
    p->upstream = NULL;
    if (!whole) p->last = true;
    pair_next_request(p);
}

void reply_upstream_lost(struct pair *p) {
    upstream_put(p->upstream, false);
    p->upstream = NULL;
    if (p->reply == REPLY_HEAD && p->fault.kind == FAULT_LOSE_REPLY)
        cut_now(p);
    else if (p->reply == REPLY_HEAD)
        reply_local(p, p->set.unready >= 400 ? p->set.unready : 502, NULL, NULL);
    else
        cut_now(p);
}

/* -- reading */

static void begin_body(struct pair *p, const struct head *head) {
    struct buf out = BUF_INIT(HEAD_MAX * 2);
    bool interim = head->status < 200 && head->status != 101;
    if (!interim) {
        p->keep_upstream = p->set.reuse && !head->old && !head_has_token(head, "connection", "close");
        if (p->reply_body.kind == BODY_UNTIL_CLOSE) p->last = true;
        log_reply(p, head->status);
    }
    if (p->fault.kind != FAULT_LOSE_REPLY &&
        (!head_write_reply(&out, head, p->last) || !queue_put(&p->down, reply_due(p), out.data, out.len)))
        pair_kill(p, true);
    buf_free(&out);
    if (p->dead || interim) return;
    p->reply = p->reply_body.kind == BODY_TUNNEL ? REPLY_TUNNEL : REPLY_BODY;
    if (p->reply == REPLY_TUNNEL) {
        p->request = REQUEST_TUNNEL;
        if (!queue_put(&p->up, pair_due(p, p->set.rtt_us / 2), p->request_in.data, p->request_in.len))
            pair_kill(p, true);
        if (!p->dead) buf_clear(&p->request_in);
    }
}

static bool read_head(struct pair *p) {
    struct stream *s = &p->upstream->stream;
    struct head head;
    if (p->reply_in.len > 0) {
        int whole = head_parse(&head, p->reply_in.data, p->reply_in.len, true);
        if (whole > 0 && !body_of_reply(&p->reply_body, &head, p->to_head)) whole = -1;
        if (whole < 0) {
            buf_clear(&p->reply_in);
            reply_upstream_lost(p);
            return true;
        }
        if (whole > 0) {
            begin_body(p, &head);
            if (p->dead) return true;
            buf_consume(&p->reply_in, head.len);
            if (p->reply == REPLY_BODY && p->reply_body.done) finish(p);
            return true;
        }
    }
    char *to = buf_reserve(&p->reply_in, READ_SIZE);
    size_t n = to == NULL ? 0 : stream_read(s, to, READ_SIZE);
    p->reply_in.len += n;
    if (n == 0 && (s->ended || s->broken || to == NULL)) {
        reply_upstream_lost(p);
        return true;
    }
    return n > 0;
}

/* How much of these bytes the client gets; sets the cut when there is to be one. */
static size_t until_cut(struct pair *p, size_t len) {
    uint64_t before = p->reply_body_bytes;
    p->reply_body_bytes += len;
    if (p->fault.kind == FAULT_LOSE_REPLY) return 0;
    if (p->fault.kind != FAULT_CUT_REPLY || p->reply_body_bytes < p->fault.bytes) return len;
    p->cut = true;
    return (size_t)(p->fault.bytes > before ? p->fault.bytes - before : 0);
}

static bool body_ends(struct pair *p, size_t n) {
    struct stream *s = &p->upstream->stream;
    if (p->cut)
        cut_now(p);
    else if (p->reply_body.done)
        finish(p);
    else if (p->reply_body.bad)
        reply_upstream_lost(p);
    else if (n > 0)
        return true;
    else if (s->broken ||
             (s->ended && p->reply_body.kind != BODY_UNTIL_CLOSE && p->reply_body.kind != BODY_TUNNEL))
        reply_upstream_lost(p);
    else if (s->ended) { /* the end of a tunnel is the client's end, too */
        p->last = true;
        finish(p);
    } else
        return false;
    return true;
}

static bool read_body(struct pair *p) {
    size_t room, n = p->reply_in.len;
    if (p->down.bytes >= pair_limit(p)) return false;
    if (n > 0) {
        size_t taken = body_take(&p->reply_body, p->reply_in.data, n);
        if (!queue_put(&p->down, reply_due(p), p->reply_in.data, until_cut(p, taken))) {
            pair_kill(p, true);
            return true;
        }
        buf_clear(&p->reply_in); /* a job that says more than it was asked is not listened to */
        if (taken < n) p->keep_upstream = false;
        return body_ends(p, n);
    }
    char *to = queue_room(&p->down, reply_due(p), &room);
    if (to == NULL) return false;
    if (p->reply_body.kind == BODY_LENGTH && room > p->reply_body.left) room = (size_t)p->reply_body.left;
    n = stream_read(&p->upstream->stream, to, room);
    size_t taken = body_take(&p->reply_body, to, n);
    if (taken < n) p->keep_upstream = false;
    queue_added(&p->down, until_cut(p, taken));
    return body_ends(p, n);
}

bool reply_read(struct pair *p) {
    if (p->reply == REPLY_IDLE || p->upstream == NULL || p->upstream->connecting || p->upstream->failed)
        return false;
    return p->reply == REPLY_HEAD ? read_head(p) : read_body(p);
}
