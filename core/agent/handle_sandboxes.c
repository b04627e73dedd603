/* The sandboxes of a host: making, listing and ending them. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/creation.h"
#include "agent/escape.h"
#include "agent/json_in.h"
#include "agent/route.h"
#include "agent/tenant.h"
#include "util/testing.h"
#include "wire/limits.h"
#include "wire/names.h"

#define ANSWER_MAX MIB(16)

/* ---- Making */

struct asker {
    struct creation_waiter waiter; /* first, so that the one is the other */
    struct exchange *x;
    struct creation *creation; /* NULL once it has answered */
};

static void asker_closed(struct exchange *x) {
    struct asker *a = x->ctx;
    if (a->creation != NULL) creation_unwait(a->creation, &a->waiter);
    free(a);
}

static void answer_made(struct creation_waiter *w, const struct creation *c) {
    struct asker *a = (struct asker *)w;
    a->creation = NULL;
    if (creation_error(c) != 0) {
        exchange_error(a->x, WIRE_INTERNAL, "no sandbox could be made: %s", strerror(creation_error(c)));
        return;
    }
    struct buf json = BUF_INIT(ANSWER_MAX);
    creation_json(c, &json);
    exchange_json(a->x, 200, &json);
}

static void ask(struct exchange *x, struct creation *c) {
    struct asker *a = c == NULL ? NULL : calloc(1, sizeof *a);
    if (a == NULL) {
        exchange_error(x, WIRE_INTERNAL, "out of memory");
        return;
    }
    a->waiter.made = answer_made;
    a->x = x;
    a->creation = c;
    x->ctx = a;
    x->on_close = asker_closed;
    creation_wait(c, &a->waiter);
}

static bool retired;

static void post_sandboxes(struct exchange *x) {
    struct creation_request r;
    char why[256];
    if (retired) {
        exchange_error(x, WIRE_NO_SANDBOX, "this host is ending: it makes no more sandboxes");
        return;
    }
    if (!creation_parse(x->body.data, x->body.len, &r, why)) {
        exchange_error(x, WIRE_INVALID, "%s", why);
        return;
    }
    const char *key = testing_off("keys") ? NULL : http_header(x->request, HEADER_KEY);
    struct key *known = NULL;
    switch (key == NULL ? KEY_NEW : keys_find(&sandbox_machine.keys, key, loop_now(), &known)) {
    case KEY_NEW:
        ask(x, creation_start(&r, key));
        break;
    case KEY_KNOWN:
        ask(x, creation_of_key(known));
        break;
    case KEY_FORGOTTEN:
        exchange_error(x, WIRE_GONE, "the request with the key '%s' is no longer remembered and is not run",
                       key);
        break;
    case KEY_MALFORMED:
        exchange_error(x, WIRE_INVALID, "malformed " HEADER_KEY ": it is <name>.<number>");
        break;
    case KEY_FULL:
        exchange_error(x, WIRE_BUSY, "too many clients use keys");
        break;
    }
    creation_request_free(&r);
}

/* ---- Looking */

static void get_sandboxes(struct exchange *x) {
    struct buf json = BUF_INIT(ANSWER_MAX);
    const char *comma = "";
    buf_putc(&json, '[');
    for (const struct tenant *t = tenants_first(); t != NULL; t = t->next) {
        if (t->state != TENANT_LIVE) continue;
        buf_printf(&json, "%s{\"id\":\"%s\",\"uid\":%u,\"home\":", comma, t->id, (unsigned)t->uid);
        escape_string(&json, t->home, strlen(t->home));
        buf_printf(&json, ",\"created_at_ms\":%lld}", (long long)t->created_wall_ms);
        comma = ",";
    }
    buf_putc(&json, ']');
    exchange_json(x, 200, &json);
}

static struct tenant *find(struct exchange *x) {
    struct tenant *t = tenant_find(x->param, strlen(x->param));
    if (t == NULL) exchange_error(x, WIRE_NO_SANDBOX, "no such sandbox: %.64s", x->param);
    return t;
}

static void get_token(struct exchange *x) {
    const struct tenant *t = find(x);
    struct buf json = BUF_INIT(KIB(1));
    if (t == NULL) return;
    buf_printf(&json, "{\"id\":\"%s\",\"token\":\"%s\"}", t->id, t->token);
    exchange_json(x, 200, &json);
}

/* ---- Ending */

struct ending {
    struct tenant_waiter waiter; /* first, so that the one is the other */
    struct exchange *x;
    struct tenant *tenant; /* NULL once it has ended */
    char id[TENANT_ID + 1];
};

static void ending_closed(struct exchange *x) {
    struct ending *e = x->ctx;
    if (e->tenant != NULL) tenant_unwait(e->tenant, &e->waiter);
    free(e);
}

static void answer_ended(struct tenant_waiter *w, const char *left) {
    struct ending *e = (struct ending *)w;
    struct buf json = BUF_INIT(KIB(1));
    e->tenant = NULL;
    buf_printf(&json, "{\"id\":\"%s\",\"deleted\":true", e->id);
    if (left != NULL) {
        buf_puts(&json, ",\"error\":");
        escape_string(&json, left, strlen(left));
        buf_printf(&json, ",\"code\":\"%s\"", codes_name(WIRE_INTERNAL));
        exchange_header(e->x, HEADER_CODE, codes_name(WIRE_INTERNAL));
    }
    buf_putc(&json, '}');
    exchange_json(e->x, left != NULL ? 500 : 200, &json);
}

static void delete_sandbox(struct exchange *x) {
    struct tenant *t = find(x);
    struct ending *e = t == NULL ? NULL : calloc(1, sizeof *e);
    if (t == NULL) return;
    if (e == NULL) {
        exchange_error(x, WIRE_INTERNAL, "out of memory");
        return;
    }
    e->waiter.ended = answer_ended;
    e->x = x;
    e->tenant = t;
    memcpy(e->id, t->id, sizeof e->id);
    x->ctx = e;
    x->on_close = ending_closed;
    tenant_end(t, &e->waiter);
}

/* Its answer counts those that were there; they end in the background. */
static void delete_sandboxes(struct exchange *x) {
    struct buf json = BUF_INIT(KIB(1));
    size_t count = 0;
    for (struct tenant *t = tenants_first(), *next; t != NULL; t = next) {
        next = t->next;
        if (t->state != TENANT_LIVE) continue;
        count++;
        tenant_end(t, NULL);
    }
    buf_printf(&json, "{\"deleted\":%zu}", count);
    exchange_json(x, 200, &json);
}

/* ---- The end of a host that nobody else uses */

static bool is_named(const struct json_doc *d, json_at list, const char *id) {
    bool found = false;
    for (json_at at = json_in_first(d, list); at >= 0 && !found; at = json_in_next(d, at)) {
        struct buf name = BUF_INIT(KIB(1));
        found = json_in_string(d, at, &name, false) && strcmp(name.data, id) == 0;
        buf_free(&name);
    }
    return found;
}

/* Who asks knows of none but these. Nobody can make one between the look and the end. */
static void post_retire(struct exchange *x) {
    const char *fault = NULL;
    struct json_doc *d = json_in_parse(x->body.data, x->body.len, &fault);
    json_at ours = d != NULL ? json_in_get(d, 0, "ours") : -1;
    if (json_in_type(d, ours) != JSON_ARRAY) {
        json_in_free(d);
        exchange_error(x, WIRE_INVALID, "'ours' must be an array of sandboxes' ids");
        return;
    }
    size_t others = 0;
    for (const struct tenant *t = tenants_first(); t != NULL; t = t->next)
        others += (t->state == TENANT_MAKING || t->state == TENANT_LIVE) && !is_named(d, ours, t->id);
    json_in_free(d);
    if (others > 0) {
        exchange_error(x, WIRE_CONFLICT, "%zu sandboxes of others are on this host", others);
        return;
    }
    struct buf json = BUF_INIT(64);
    retired = true;
    buf_puts(&json, "{\"retired\":true}");
    exchange_json(x, 200, &json);
    agent_shutdown(0);
}

const struct route handle_sandboxes_routes[] = {
    {"POST", "retire", BODY_BUFFERED, LIMIT_SMALL_BODY, post_retire},
    {"POST", "sandboxes", BODY_BUFFERED, LIMIT_SMALL_BODY, post_sandboxes},
    {"GET", "sandboxes", BODY_NONE, 0, get_sandboxes},
    {"DELETE", "sandboxes", BODY_NONE, 0, delete_sandboxes},
    {"DELETE", "sandboxes/:id", BODY_NONE, 0, delete_sandbox},
    {"GET", "sandboxes/:id/token", BODY_NONE, 0, get_token},
    {NULL, NULL, BODY_NONE, 0, NULL},
};

/* ---- A sandbox that is not there: as the Hub's own server answers, whose clients rely on it. */

static void no_processes(struct exchange *x) {
    struct buf json = BUF_INIT(8);
    buf_puts(&json, "[]");
    exchange_json(x, 200, &json);
}

static void no_process(struct exchange *x) {
    struct buf json = BUF_INIT(KIB(1));
    buf_puts(&json, "{\"id\":");
    escape_string(&json, x->param, strlen(x->param));
    buf_puts(&json, ",\"ok\":true,\"killed\":false,\"signalled\":0,\"survivors\":[]}");
    exchange_json(x, 200, &json);
}

const struct route handle_absent_routes[] = {
    {"GET", "processes", BODY_NONE, 0, no_processes},
    {"DELETE", "processes/:id", BODY_NONE, 0, no_process},
    {NULL, NULL, BODY_NONE, 0, NULL},
};
