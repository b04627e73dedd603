#include "agent/turn.h"

#include <stdlib.h>

#include "agent/sandbox.h"
#include "util/testing.h"

#define SPARE_TURNS 4

static size_t with_token; /* turns under way */
static int64_t last_activity;

static struct turn *spare[SPARE_TURNS];
static size_t spares;

struct turn *turn_new(struct conn *c) {
    struct turn *t = spares > 0 ? spare[--spares] : NULL;
    if (t == NULL) {
        t = calloc(1, sizeof *t);
        if (t == NULL) return NULL;
        t->parser = http_new();
        if (t->parser == NULL) {
            free(t);
            return NULL;
        }
        buf_init(&t->out, EXCHANGE_QUEUE);
    }
    t->x.conn = c;
    t->x.half_closed = c->eof;
    t->x.request = http_request(t->parser);
    buf_init(&t->fields, KIB(16));
    return t;
}

void turn_free(struct turn *t) {
    exchange_clear(t);
    buf_free(&t->x.body);
    struct http_parser *parser = t->parser;
    if (spares == SPARE_TURNS) {
        http_free(parser);
        free(t);
        return;
    }
    http_next(parser);
    *t = (struct turn){.parser = parser};
    buf_init(&t->out, EXCHANGE_QUEUE);
    spare[spares++] = t;
}

/* The handler is told, once, that its exchange is over. */
void turn_release(struct turn *t, bool lost) {
    struct exchange *x = &t->x;
    void (*on_close)(struct exchange *) = x->on_close;
    x->on_body = NULL;
    x->on_body_end = NULL;
    x->on_drain = NULL;
    x->on_close = NULL;
    x->lost = lost;
    if (on_close != NULL) on_close(x);
    if (t->authenticated) {
        t->authenticated = false;
        with_token--;
        x->sandbox->under_way--;
        x->sandbox->last_activity = last_activity = loop_now();
    }
}

/* What the parser finds, in its order */

static void run_route(struct turn *t) {
    struct exchange *x = &t->x;
    const char *expect = t->x.request->minor > 0 ? http_header(x->request, "Expect") : NULL;
    if (expect != NULL && !x->request->expect_continue) {
        exchange_error_status(x, 417, WIRE_INVALID, "unknown expectation: %s", expect);
        t->drop = true;
        return;
    }
    if (t->route->body == BODY_BUFFERED) {
        buf_init(&x->body, t->route->body_max);
        if (x->request->content_length <= (int64_t)t->route->body_max) return;
        exchange_error(x, WIRE_TOO_LARGE, "the body has %lld bytes; at most %zu are taken here",
                       (long long)x->request->content_length, t->route->body_max);
        t->drop = true;
        return;
    }
    t->drop = t->route->body == BODY_NONE;
    t->route->start(x);
}

void turn_head(struct turn *t) {
    bool authenticated = false;
    const struct http_request *r = t->x.request;
    t->headed = true;
    t->continue_due = r->expect_continue && r->content_length != 0;
    t->route = route_find(&t->x, &authenticated);
    if (authenticated) {
        t->authenticated = t->x.conn->trusted = true;
        with_token++;
        t->x.sandbox->under_way++;
        t->x.sandbox->last_activity = last_activity = loop_now();
    }
    if (t->route == NULL)
        t->drop = true;
    else
        run_route(t);
}

void turn_body(struct turn *t, const char *data, size_t len) {
    struct exchange *x = &t->x;
    t->received += len;
    t->continue_due = false; /* it did not wait */
    if (!t->drop && t->route->body == BODY_BUFFERED) {
        if (buf_append(&x->body, data, len)) return;
        bool large = x->body.len + len > t->route->body_max;
        exchange_error(x, large ? WIRE_TOO_LARGE : WIRE_BUSY,
                       large ? "the body has more than the %zu bytes that are taken here" : "out of memory",
                       t->route->body_max);
        t->drop = true;
    } else if (!t->drop && !t->ended && x->on_body != NULL) {
        if (x->on_body(x, data, len)) return;
        t->drop = true;
    }
    t->dropped += len;
    if (t->dropped > LIMIT_DRAIN) t->close = true;
}

void turn_body_end(struct turn *t) {
    t->received_all = true;
    t->continue_due = false;
    if (t->drop) return;
    if (t->route->body == BODY_BUFFERED)
        t->route->start(&t->x);
    else if (t->x.on_body_end != NULL)
        t->x.on_body_end(&t->x);
}

void turn_bad(struct turn *t, int status, enum wire_code code, const char *why) {
    turn_release(t, true);
    t->close = t->drop = true;
    t->tunnel = false;
    if (!t->begun)
        exchange_error_status(&t->x, status, code, "%s", why);
    else if (!t->ended)
        exchange_abort(&t->x);
}

size_t turn_authenticated(void) {
    return with_token;
}

int64_t turn_last_activity(void) {
    return last_activity;
}
