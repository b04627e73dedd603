#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/json.h"
#include "client/log.h"
#include "client/pool.h"
#include "util/clock.h"
#include "util/testing.h"
#include "wire/limits.h"

#define MORE_MAX 100 /* items of an answer that were not asked for, or make no sense */
#define ROUNDS_MAX                                                                                           \
    100 /* hosts that were full when they were asked, for one sandbox: others have got what it would */
#define ROUNDS_QUICK 4 /* after so many each takes REST_MS more */
#define REST_MS      10
#define REST_MOST    250
#define DUE_MS       3000  /* an answer that takes longer is not waited for before the pool grows */
#define POST_MS      60000 /* the longest that one request goes on */

struct pool_post { /* one request for the sandboxes of several calls */
    struct pool_post *next;
    struct sbx_pool *pool; /* held */
    struct host *host;     /* held; its pool_host may be gone */
    struct host_call *call;
    int64_t begun_ms;
    size_t count, left;        /* calls that still wait */
    struct placing *members[]; /* NULL: it waits no more, and its sandbox goes */
};

/* ---- Who waits */

static void enqueue(struct sbx_pool *pool, struct placing *p, bool first) {
    p->post = NULL;
    p->prev = first ? NULL : pool->last;
    p->next = first ? pool->first : NULL;
    *(p->prev != NULL ? &p->prev->next : &pool->first) = p;
    *(p->next != NULL ? &p->next->prev : &pool->last) = p;
    pool->waiting++;
}

static void dequeue(struct sbx_pool *pool, struct placing *p) {
    *(p->prev != NULL ? &p->prev->next : &pool->first) = p->next;
    *(p->next != NULL ? &p->next->prev : &pool->last) = p->prev;
    p->next = p->prev = NULL;
    pool->waiting--;
}

/* The request is over; where it was made, if that still counts. */
static struct pool_host *leave(struct pool_post *post) {
    struct pool_host *ph = pool_host_find(post->pool, post->host->machine->job.id);
    post->call = NULL;
    if (ph == NULL || ph->host != post->host) return NULL;
    ph->place.pending -= (unsigned)post->count;
    ph->place.posts--;
    return ph;
}

static void finish(struct pool_post *post) {
    struct sbx_pool *pool = post->pool;
    struct pool_post **at = &pool->posts;
    while (*at != post)
        at = &(*at)->next;
    *at = post->next;
    host_release(post->host);
    free(post);
    pool_step_soon(pool);
    pool_release(pool);
}

static void placing_ended(struct op *op, sbx_status status) {
    struct placing *p = op->ctx;
    struct sbx_pool *pool = p->pool;
    struct pool_post *post = p->post;
    if (post == NULL) {
        dequeue(pool, p);
    } else {
        post->members[p->slot] = NULL;
        /* What it may have made is to be ended. */
        if (--post->left == 0 && post->call != NULL && !host_call_apart(post->call)) {
            host_call_cancel(post->call);
            leave(post);
            finish(post);
        }
    }
    if (p->body != NULL) explicit_bzero(p->body, strlen(p->body));
    free(p->body);
    free(p);
    if (status != SBX_OK) pool_given_up(pool);
    pool_release(pool);
}

static void placing_doing(const struct op *op, char *out, size_t room) {
    const struct placing *p = op->ctx;
    pool_doing(p->pool, out, room);
}

static sbx_status write_body(char **out, const sbx_sandbox_options *o, sbx_error *err) {
    struct buf body = BUF_INIT(LIMIT_SMALL_BODY - 64);
    int64_t idle = o->idle_timeout_ms == 0 ? POOL_IDLE_MS : o->idle_timeout_ms;
    if (idle != SBX_NO_TIMEOUT)
        buf_printf(&body, ",\"idle_timeout_secs\":%lld", (long long)(idle / 1000 + (idle % 1000 != 0)));
    if (o->limit_processes > 0)
        buf_printf(&body, ",\"max_procs\":%llu", (unsigned long long)o->limit_processes);
    uint64_t mib = o->limit_memory / MIB(1) + (o->limit_memory % MIB(1) != 0);
    if (mib > 0) buf_printf(&body, ",\"max_mem_mb\":%llu", (unsigned long long)mib);
    if (o->env != NULL && o->env[0] != NULL) {
        buf_puts(&body, ",\"env\":");
        json_put_env(&body, o->env);
    }
    buf_puts(&body, "");
    bool large = body.failed;
    *out = large ? NULL : buf_take(&body);
    if (large && body.data != NULL) explicit_bzero(body.data, body.len);
    buf_free(&body);
    if (large)
        return error_set(err, SBX_ERROR_TOO_LARGE, "sbx_pool_sandbox: env is over %zu bytes",
                         (size_t)LIMIT_SMALL_BODY);
    return *out != NULL ? SBX_OK : error_memory(err);
}

void pool_place(struct op *op, struct sbx_pool *pool, const sbx_sandbox_options *options) {
    sbx_error error;
    struct placing *p = calloc(1, sizeof *p);
    if (p == NULL || write_body(&p->body, options, &error) != SBX_OK) {
        if (p == NULL) error_memory(&error);
        free(p);
        op_fail(op, &error);
        return;
    }
    p->pool = pool;
    p->op = op;
    p->detached = options->detached != 0;
    pool_hold(pool);
    op->ctx = p;
    op->end = placing_ended;
    op->doing = placing_doing;
    enqueue(pool, p, false);
    pool_step_soon(pool);
}

int64_t pool_posts_due(const struct sbx_pool *pool) {
    int64_t due = 0;
    for (const struct pool_post *post = pool->posts; post != NULL; post = post->next)
        if (post->begun_ms + DUE_MS > due) due = post->begun_ms + DUE_MS;
    return due;
}

/* ---- Their sandboxes */

static void gone(void *ctx, struct host *host, bool ended) {
    struct sbx_pool *pool = ctx;
    for (struct place *p = pool->hosts; p != NULL && ended; p = p->next)
        if (pool_host_of(p)->host == host && p->live > 0) p->live--;
    if (pool->waiting > 0) pool_step_soon(pool);
    pool_release(pool);
}

static void give(struct pool_post *post, size_t slot, const struct shared_item *item) {
    struct placing *p = post->members[slot];
    if (p == NULL) {
        shared_end(post->host, item->name);
        return;
    }
    struct sbx_pool *pool = post->pool;
    struct op *op = p->op;
    struct sbx_sandbox *sandbox = shared_new(post->host, item, pool_plain(pool), !p->detached);
    if (sandbox == NULL) {
        shared_end(post->host, item->name);
        op_fail_memory(op);
        return;
    }
    struct shared *s = shared_of(sandbox);
    s->gone = gone;
    s->ctx = pool;
    pool_hold(pool);
    sandbox->timings.answered_ms = clock_ms() - op->begun_ms;
    log_event(pool->client, SBX_LOG_INFO, "sandbox.created", "id", sandbox->id, "provider", "jobs", NULL);
    op->out.sandbox = sandbox;
    op_done(op, SBX_OK);
}

/* Back to those that wait, in front, as they were. */
static void again(struct pool_post *post, size_t from) {
    struct sbx_pool *pool = post->pool;
    int64_t rest = 0;
    for (size_t slot = post->count; slot-- > from;) {
        struct placing *p = post->members[slot];
        post->members[slot] = NULL;
        if (p == NULL) continue;
        enqueue(pool, p, true);
        if (p->rounds >= ROUNDS_QUICK) rest = (int64_t)(p->rounds - ROUNDS_QUICK + 1) * REST_MS;
        if (++p->rounds <= ROUNDS_MAX) continue;
        op_failf(
            p->op, SBX_ERROR_BUSY,
            "%s: %d hosts of pool '%s' were full when they were asked: raise max_hosts or sandboxes_per_host",
            p->op->name, ROUNDS_MAX, pool->name);
    }
    pool->rest_until = clock_ms() + (rest < REST_MOST ? rest : REST_MOST);
}

static void fail_members(struct pool_post *post, const sbx_error *why) {
    for (size_t slot = 0; slot < post->count; slot++) {
        struct placing *p = post->members[slot];
        if (p == NULL) continue;
        sbx_error error;
        error_set(&error, why->code, "%s: host %s: %s", p->op->name, post->host->machine->job.id,
                  why->message);
        error.http_status = why->http_status;
        op_fail(p->op, &error);
    }
}

/* A host that has gone mad, or was broken into, gives nothing away twice. */
static bool is_taken(const struct host *host, const char *name) {
    for (const struct shared *s = host->shared; s != NULL && !testing_off("pool-twice"); s = s->next)
        if (strcmp(s->name, name) == 0) return true;
    return false;
}

static size_t take_items(struct pool_post *post, const struct json *value) {
    size_t made = 0, more = 0;
    const struct json *items = json_get(value, "sandboxes");
    for (const struct json *item = json_first(items); item != NULL && more < MORE_MAX;
         item = json_next(item)) {
        struct shared_item parsed;
        if (!shared_parse(&parsed, item) || is_taken(post->host, parsed.name)) {
            more++;
        } else if (made < post->count) {
            give(post, made++, &parsed);
        } else {
            more++;
            shared_end(post->host, parsed.name);
        }
    }
    return made;
}

static void posted(void *ctx, const struct host_reply *reply) {
    struct pool_post *post = ctx;
    struct sbx_pool *pool = post->pool;
    struct pool_host *ph = leave(post);
    struct json *value = reply->status == SBX_OK ? json_parse(reply->body->data, reply->body->len) : NULL;
    if (json_is_object(value)) {
        size_t made = take_items(post, value);
        if (ph != NULL) {
            ph->place.live += (unsigned)made;
            if (made < post->count) pool_log(pool, ph->id, "full", false);
            if (made < post->count && ph->place.live < ph->place.capacity)
                ph->place.live = ph->place.capacity;
        }
        again(post, made);
        pool_memory_save(pool, false);
    } else if (reply->status == SBX_OK) {
        sbx_error error;
        error_set(&error, SBX_ERROR_PROTOCOL, "the answer describes no sandboxes");
        fail_members(post, &error);
    } else if (reply->dead) {
        again(post, 0);
    } else if (reply->unsent) {
        /* Nobody reaches it now: it has no room before it is looked at again. */
        if (ph != NULL) ph->place.live = ph->place.capacity;
        again(post, 0);
    } else if (ph != NULL && (reply->http_status == 403 || reply->http_status == 404)) {
        again(post, 0);
        pool_host_failed(ph, &reply->error);
    } else {
        fail_members(post, &reply->error);
    }
    json_free(value);
    finish(post);
}

void pool_post(struct sbx_pool *pool, struct pool_host *ph, unsigned count) {
    struct placing *first = pool->first;
    unsigned alike = 1;
    for (struct placing *p = first->next; p != NULL && alike < count && strcmp(p->body, first->body) == 0;
         p = p->next)
        alike++;
    struct pool_post *post = calloc(1, sizeof *post + alike * sizeof(struct placing *));
    struct buf body = BUF_INIT(LIMIT_SMALL_BODY);
    char key[64] = "";
    buf_printf(&body, "{\"count\":%u%s}", alike, first->body);
    if (host_honours_keys(ph->host)) client_key(pool->client, key);
    if (post != NULL && !body.failed)
        post->call = host_call(ph->host, &(struct host_call_spec){.method = "POST",
                                                                  .log_route = "sandboxes",
                                                                  .what = "making the sandbox",
                                                                  .target = "/v1/sandboxes",
                                                                  .body = body.data,
                                                                  .body_len = body.len,
                                                                  .key = key,
                                                                  .deadline = clock_deadline(POST_MS),
                                                                  .done = posted,
                                                                  .ctx = post});
    if (body.data != NULL) explicit_bzero(body.data, body.len);
    buf_free(&body);
    if (post == NULL || post->call == NULL) {
        free(post);
        op_fail_memory(first->op);
        return;
    }
    post->pool = pool;
    post->begun_ms = clock_ms();
    pool_hold(pool);
    post->host = ph->host;
    host_hold(ph->host);
    post->count = post->left = alike;
    post->next = pool->posts;
    pool->posts = post;
    ph->place.pending += alike;
    ph->place.posts++;
    for (unsigned slot = 0; slot < alike; slot++) {
        struct placing *p = pool->first;
        dequeue(pool, p);
        p->post = post;
        p->slot = slot;
        post->members[slot] = p;
    }
}
