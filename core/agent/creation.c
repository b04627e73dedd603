#include "agent/creation.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "agent/confine_host.h"
#include "agent/escape.h"
#include "agent/json_in.h"
#include "agent/workers.h"
#include "util/text.h"
#include "wire/limits.h"

#define REMEMBERED        4096 /* creations with keys */
#define DEFAULT_PROCESSES 256
#define DEFAULT_MEMORY    ((uint64_t)2 << 30)
#define DEFAULT_DISK      ((uint64_t)8 << 30)
#define ENV_MOST          KIB(64)

struct creation {
    struct job job;
    struct later later;
    struct key key;
    struct creation *next; /* of those with keys, the oldest first */
    struct tenant **made;  /* while it is under way */
    char (*ids)[TENANT_ID + 1];
    size_t count, rejected;
    int error;
    bool keyed, complete;
    struct creation_waiter *waiters;
};

static struct creation *oldest, *newest;
static size_t remembered;

/* ---- The request */

static bool refuse(char why[256], const char *format, const char *name, uint64_t least, uint64_t most) {
    text_format(why, 256, format, name, (unsigned long long)least, (unsigned long long)most);
    return false;
}

/* 1 there and fine, 0 absent, -1 *why is set. */
static int number(const struct json_doc *d, const char *name, uint64_t least, uint64_t most, uint64_t *out,
                  char why[256]) {
    json_at at = json_in_get(d, 0, name);
    enum json_type type = json_in_type(d, at);
    if (type == JSON_ABSENT || type == JSON_NULL) return 0;
    uint64_t value;
    if (json_in_u64(d, at, &value) && value >= least && value <= most) {
        *out = value;
        return 1;
    }
    refuse(why, "'%s' must be a whole number from %llu to %llu", name, least, most);
    return -1;
}

static bool take_env(const struct json_doc *d, struct creation_request *out, char why[256]) {
    json_at env = json_in_get(d, 0, "env");
    enum json_type type = json_in_type(d, env);
    bool given = type != JSON_ABSENT && type != JSON_NULL;
    size_t count = given ? json_in_size(d, env) : 0, n = 0, bytes = 0;
    if (given && type != JSON_OBJECT) return refuse(why, "'%s' must be an object", "env", 0, 0);
    out->env = calloc(count + 1, sizeof *out->env);
    if (out->env == NULL) return refuse(why, "out of memory%s", "", 0, 0);
    for (json_at at = given ? json_in_first(d, env) : -1; at >= 0; at = json_in_next(d, at)) {
        struct buf item = BUF_INIT(ENV_MOST);
        bool ok =
            json_in_string(d, at, &item, false) && item.len > 0 && memchr(item.data, '=', item.len) == NULL;
        if (ok)
            ok = buf_putc(&item, '=') && json_in_scalar(d, json_in_value(d, at), &item) &&
                 strlen(item.data) == item.len;
        bytes += item.len;
        if (ok && bytes <= ENV_MOST) {
            out->env[n++] = buf_take(&item);
            continue;
        }
        bool large = item.failed || bytes > ENV_MOST;
        buf_free(&item);
        return refuse(why,
                      large ? "'%s' has more than 64 KiB"
                            : "'%s' must have names without '=' and values that are strings, numbers or "
                              "booleans, without NUL",
                      "env", 0, 0);
    }
    return true;
}

static bool take_members(const struct json_doc *d, struct creation_request *out, char why[256]) {
    uint64_t count = 1, memory = 0, disk = 0, idle = 0;
    if (json_in_type(d, 0) != JSON_OBJECT) return refuse(why, "the body must be an object%s", "", 0, 0);
    if (number(d, "count", 0, UINT64_MAX, &count, why) < 0 ||
        number(d, "max_procs", 1, CREATION_PROCESSES, &out->limits.processes, why) < 0 ||
        number(d, "max_mem_mb", 1, CREATION_MEMORY_MB, &memory, why) < 0 ||
        number(d, "max_disk_mb", 1, CREATION_DISK_MB, &disk, why) < 0 ||
        number(d, "idle_timeout_secs", 0, INT32_MAX, &idle, why) < 0)
        return false;
    out->count = count < 1 ? 1 : count > CREATION_MOST ? CREATION_MOST : (size_t)count;
    if (memory > 0) out->limits.memory = memory << 20;
    if (disk > 0) out->limits.disk = disk << 20;
    if (idle > 0) out->idle_ms = (int64_t)idle * 1000;
    return take_env(d, out, why);
}

bool creation_parse(const char *body, size_t len, struct creation_request *out, char why[256]) {
    const char *fault = NULL;
    *out = (struct creation_request){.count = 1,
                                     .limits = {.processes = DEFAULT_PROCESSES,
                                                .memory = DEFAULT_MEMORY,
                                                .disk = DEFAULT_DISK,
                                                .open_files = CONFINE_HOST_FILES},
                                     .idle_ms = -1};
    if (len == 0) body = "{}", len = 2;
    struct json_doc *d = json_in_parse(body, len, &fault);
    if (d == NULL) return refuse(why, "the body is not valid JSON: %s", fault, 0, 0);
    bool ok = take_members(d, out, why);
    json_in_free(d);
    if (!ok) creation_request_free(out);
    return ok;
}

void creation_request_free(struct creation_request *r) {
    for (char **e = r->env; e != NULL && *e != NULL; e++)
        free(*e);
    free(r->env);
    r->env = NULL;
}

/* ---- Carrying it out */

static void free_creation(struct creation *c) {
    loop_unlater(&c->later);
    free(c->made);
    free(c->ids);
    free(c);
}

static void forget_oldest(void) {
    struct creation *c = oldest;
    if (c == NULL || !c->complete || c->waiters != NULL) return;
    oldest = c->next;
    if (oldest == NULL) newest = NULL;
    remembered--;
    keys_forget(&c->key);
    free_creation(c);
}

/* What cannot be remembered must not be made: the request may come again. */
static void remember(struct creation *c, const char *key) {
    c->keyed = keys_remember(&sandbox_machine.keys, &c->key, key);
    if (!c->keyed) c->error = ENOMEM;
    if (!c->keyed) return;
    if (newest != NULL)
        newest->next = c;
    else
        oldest = c;
    newest = c;
    if (++remembered > REMEMBERED) forget_oldest();
}

/* As if it had never been sent. */
static void unremember(struct creation *c) {
    struct creation **at = &oldest, *before = NULL;
    if (!c->keyed) return;
    for (; *at != c; at = &(*at)->next)
        before = *at;
    *at = c->next;
    if (newest == c) newest = before;
    remembered--;
    keys_undo(&c->key);
    c->keyed = false;
}

static void tell(struct later *l) {
    struct creation *c = (struct creation *)((char *)l - offsetof(struct creation, later));
    for (struct creation_waiter *w; (w = c->waiters) != NULL;) {
        c->waiters = w->next;
        w->made(w, c);
    }
    if (!c->keyed) free_creation(c);
}

static void make(struct job *j) {
    struct creation *c = (struct creation *)j;
    for (size_t i = 0; i < c->count && c->error == 0; i++)
        c->error = tenant_make_home(c->made[i]);
}

/* All or nothing; and nothing for nobody. */
static void made(struct job *j) {
    struct creation *c = (struct creation *)j;
    bool undo = c->error != 0 || (!c->keyed && c->waiters == NULL);
    for (size_t i = 0; i < c->count; i++) {
        if (undo)
            tenant_end(c->made[i], NULL);
        else
            tenant_made(c->made[i]);
    }
    free(c->made);
    c->made = NULL;
    c->complete = true;
    if (c->error != 0) unremember(c);
    tell(&c->later);
}

struct creation *creation_start(const struct creation_request *r, const char *key) {
    struct creation *c = calloc(1, sizeof *c);
    if (c == NULL) return NULL;
    c->made = calloc(r->count, sizeof(struct tenant *));
    c->ids = calloc(r->count, sizeof *c->ids);
    if (c->made == NULL || c->ids == NULL) {
        free_creation(c);
        return NULL;
    }
    bool full = false;
    while (c->count < r->count && !full) {
        struct tenant *t = tenant_new(r->env, &r->limits, r->idle_ms, &full);
        if (t == NULL && !full) c->error = ENOMEM;
        if (t == NULL) break;
        memcpy(c->ids[c->count], t->id, sizeof t->id);
        c->made[c->count++] = t;
    }
    c->rejected = r->count - c->count;
    if (key != NULL) remember(c, key);
    c->job.work = make;
    c->job.done = made;
    workers_submit(&c->job);
    return c;
}

struct creation *creation_of_key(struct key *k) {
    return (struct creation *)((char *)k - offsetof(struct creation, key));
}

void creation_wait(struct creation *c, struct creation_waiter *w) {
    w->next = c->waiters;
    c->waiters = w;
    if (c->complete) loop_later(&c->later, tell);
}

void creation_unwait(struct creation *c, struct creation_waiter *w) {
    for (struct creation_waiter **at = &c->waiters; *at != NULL; at = &(*at)->next) {
        if (*at != w) continue;
        *at = w->next;
        return;
    }
}

int creation_error(const struct creation *c) {
    return c->error;
}

bool creation_json(const struct creation *c, struct buf *out) {
    const char *comma = "";
    buf_puts(out, "{\"sandboxes\":[");
    for (size_t i = 0; i < c->count; i++) {
        const struct tenant *t = tenant_find(c->ids[i], TENANT_ID);
        if (t == NULL) continue;
        buf_printf(out, "%s{\"id\":\"%s\",\"uid\":%u,\"home\":", comma, t->id, (unsigned)t->uid);
        escape_string(out, t->home, strlen(t->home));
        buf_printf(out, ",\"token\":\"%s\",\"confinement\":\"%s\"}", t->token, confine_host_name());
        comma = ",";
    }
    return buf_printf(out, "],\"rejected\":%zu}", c->rejected);
}
