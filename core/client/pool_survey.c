#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/json.h"
#include "client/pool.h"
#include "util/clock.h"
#include "wire/limits.h"

#define SETTLE_MS  10 /* between two looks whether hosts that were just found have answered */
#define PATIENT_MS 5000

/* What a pool is: all its hosts by the Hub, and what each host that is used here says of itself. */

struct survey_host {
    struct survey_host *next;
    struct survey *survey;
    char id[JOB_ID_SIZE], stage[24];
    bool runs;
    int64_t created_ms;
    struct host *host; /* held; NULL = not used here */
    struct host_call *list, *health;
    struct buf sandboxes; /* what it answers */
    char isolation[64];
};

struct survey {
    struct op *op;
    struct sbx_pool *pool; /* held */
    struct job_pages pages;
    struct survey_host *hosts, **last;
    struct io_timer settle;
    int64_t until_ms;
    size_t asking;
    bool lists; /* the sandboxes; else: info */
    sbx_error failure;
};

static void survey_ended(struct op *op, sbx_status status) {
    struct survey *s = op->ctx;
    struct sbx_pool *pool = s->pool;
    (void)status;
    job_pages_stop(&s->pages);
    io_timer_clear(&op->client->io, &s->settle);
    while (s->hosts != NULL) {
        struct survey_host *h = s->hosts;
        s->hosts = h->next;
        host_call_cancel(h->list);
        host_call_cancel(h->health);
        host_release(h->host);
        buf_free(&h->sandboxes);
        free(h);
    }
    free(s);
    pool_release(pool);
}

/* ---- The answer */

static void put_host(struct buf *out, const struct survey *s, const struct survey_host *h) {
    const struct pool_host *ph = pool_host_find(s->pool, h->id);
    struct json *list = h->sandboxes.len > 0 ? json_parse(h->sandboxes.data, h->sandboxes.len) : NULL;
    buf_puts(out, h == s->hosts ? "{\"id\":" : ",{\"id\":");
    json_put_text(out, h->id);
    buf_puts(out, ",\"stage\":");
    json_put_text(out, h->stage);
    buf_printf(
        out, ",\"ours\":%s,\"adopted\":%s,\"sandboxes\":%lld,\"capacity\":%u,\"age_ms\":%lld,\"isolation\":",
        ph != NULL && ph->booted ? "true" : "false", ph != NULL ? "true" : "false",
        json_is_array(list) ? (long long)json_count(list) : -1LL,
        ph != NULL ? ph->place.capacity : s->pool->per_host,
        (long long)(h->created_ms > 0 ? clock_wall_ms() - h->created_ms : 0));
    json_put_text(out, h->isolation[0] != '\0' ? h->isolation : NULL);
    buf_putc(out, '}');
    json_free(list);
}

static void give_info(struct survey *s) {
    const struct sbx_pool *pool = s->pool;
    struct buf out = BUF_INIT(MIB(4));
    size_t sandboxes = 0;
    for (const struct survey_host *h = s->hosts; h != NULL; h = h->next) {
        struct json *list = h->sandboxes.len > 0 ? json_parse(h->sandboxes.data, h->sandboxes.len) : NULL;
        sandboxes += json_count(list);
        json_free(list);
    }
    buf_puts(&out, "{\"name\":");
    json_put_text(&out, pool->name);
    buf_puts(&out, ",\"provider\":\"jobs\",\"image\":");
    json_put_text(&out, pool->image);
    buf_puts(&out, ",\"flavor\":");
    json_put_text(&out, pool->flavor);
    buf_puts(&out, ",\"namespace\":");
    json_put_text(&out, jobs_namespace(pool->jobs, pool->hub_namespace));
    buf_printf(&out, ",\"sandboxes_per_host\":%u,\"max_hosts\":%u,\"sandboxes\":%zu,\"hosts\":[",
               pool->per_host, pool->max_hosts, sandboxes);
    for (const struct survey_host *h = s->hosts; h != NULL; h = h->next)
        put_host(&out, s, h);
    buf_puts(&out, "]}");
    s->op->out.bytes = out.failed ? NULL : sandbox_bytes(&out);
    buf_free(&out);
    if (s->op->out.bytes == NULL) {
        op_fail_memory(s->op);
    } else {
        op_done(s->op, SBX_OK);
    }
}

static bool add_rows(const struct survey *s, const struct survey_host *h, sbx_sandbox_list *rows) {
    const struct sbx_pool *pool = s->pool;
    const char *ns = jobs_namespace(pool->jobs, pool->hub_namespace);
    struct json *list = h->sandboxes.len > 0 ? json_parse(h->sandboxes.data, h->sandboxes.len) : NULL;
    bool ok = true, plain = pool_plain(pool);
    for (const struct json *item = json_first(list); ok && item != NULL; item = json_next(item)) {
        struct shared_item parsed;
        char id[JOB_ID_SIZE + JOB_NAME_SIZE + SHARED_NAME_SIZE];
        if (!shared_parse(&parsed, item)) continue;
        snprintf(id, sizeof id, "%s%s%s.%s", plain ? "" : ns, plain ? "" : "/", h->id, parsed.name);
        bool ours = false;
        for (const struct shared *each = h->host->shared; each != NULL; each = each->next)
            ours = ours || (each->owned && strcmp(each->name, parsed.name) == 0);
        ok = sandbox_list_add(rows,
                              &(sbx_sandbox_info_row){.id = id,
                                                      .provider = "jobs",
                                                      .created_at_ms = json_int(item, "created_at_ms", 0),
                                                      .detached = !ours,
                                                      .running = 1,
                                                      .hub_namespace = ns,
                                                      .stage = h->stage,
                                                      .image = pool->image,
                                                      .flavor = pool->flavor,
                                                      .started_at_ms = json_int(item, "created_at_ms", 0),
                                                      .cost_micro_usd = -1,
                                                      .pool = pool->name});
    }
    json_free(list);
    return ok;
}

static void give_rows(struct survey *s) {
    sbx_sandbox_list *rows = sandbox_list_new();
    bool ok = rows != NULL;
    for (const struct survey_host *h = s->hosts; ok && h != NULL; h = h->next)
        ok = add_rows(s, h, rows);
    if (!ok) {
        sbx_sandbox_list_free(rows);
        op_fail_memory(s->op);
    } else {
        s->op->out.sandboxes = rows;
        op_done(s->op, SBX_OK);
    }
}

static void check(struct survey *s) {
    if (s->asking > 0) return;
    if (s->failure.code != SBX_OK) {
        op_failf(s->op, s->failure.code, "%s: %s", s->op->name, s->failure.message);
    } else if (s->lists) {
        give_rows(s);
    } else {
        give_info(s);
    }
}

/* ---- The questions */

static void counted(void *ctx, const struct host_reply *reply) {
    struct survey_host *h = ctx;
    struct survey *s = h->survey;
    h->list = NULL;
    s->asking--;
    /* One that has ended meanwhile has none. */
    if (reply->status == SBX_OK) {
        buf_append(&h->sandboxes, reply->body->data, reply->body->len);
    } else if (!reply->dead && s->lists) {
        s->failure = reply->error;
    }
    check(s);
}

static void told(void *ctx, const struct host_reply *reply) {
    struct survey_host *h = ctx;
    struct survey *s = h->survey;
    h->health = NULL;
    s->asking--;
    struct json *value = reply->status == SBX_OK ? json_parse(reply->body->data, reply->body->len) : NULL;
    const struct json *landlock = json_get(value, "landlock");
    int64_t abi = json_int(landlock, "abi", -1);
    if (abi > 0) snprintf(h->isolation, sizeof h->isolation, "user and Landlock %lld", (long long)abi);
    if (abi == 0) snprintf(h->isolation, sizeof h->isolation, "user");
    json_free(value);
    check(s);
}

static struct host_call *ask(struct survey_host *h, const char *route, const char *target,
                             void (*done)(void *, const struct host_reply *)) {
    struct host_call *call =
        host_call(h->host, &(struct host_call_spec){.method = "GET",
                                                    .log_route = route,
                                                    .what = "asking a host about its sandboxes",
                                                    .target = target,
                                                    .repeatable = true,
                                                    .deadline = h->survey->op->deadline,
                                                    .done = done,
                                                    .ctx = h});
    h->survey->asking += call != NULL;
    return call;
}

static void settle(void *ctx) {
    struct survey *s = ctx;
    bool waits = false;
    for (struct survey_host *h = s->hosts; h != NULL; h = h->next) {
        const struct pool_host *ph = pool_host_find(s->pool, h->id);
        waits = waits || (ph != NULL && h->runs && !ph->place.ready);
    }
    if (waits && clock_ms() < s->until_ms &&
        io_timer_set(&s->op->client->io, &s->settle, clock_ms() + SETTLE_MS))
        return;
    for (struct survey_host *h = s->hosts; h != NULL; h = h->next) {
        const struct pool_host *ph = pool_host_find(s->pool, h->id);
        if (ph == NULL || ph->host == NULL) continue;
        h->host = ph->host;
        host_hold(h->host);
        h->list = ask(h, "sandboxes", "/v1/sandboxes", counted);
        if (!s->lists) h->health = ask(h, "health", "/health", told);
    }
    check(s);
}

static void item(void *ctx, const struct job *job, const struct json *value) {
    struct survey *s = ctx;
    struct survey_host *h = calloc(1, sizeof *h);
    if (h == NULL) {
        error_memory(&s->failure);
        return;
    }
    h->survey = s;
    buf_init(&h->sandboxes, MIB(16));
    memcpy(h->id, job->id, sizeof h->id);
    memcpy(h->stage, job->stage, sizeof h->stage);
    h->runs = job->phase == JOB_RUNS;
    h->created_ms = job->created_ms;
    *s->last = h;
    s->last = &h->next;
    if (h->runs) pool_look_at(s->pool, job, value);
}

static void listed(void *ctx, const sbx_error *error) {
    struct survey *s = ctx;
    if (error != NULL) s->failure = *error;
    s->until_ms = clock_deadline(PATIENT_MS);
    settle(s);
}

static void begin(struct op *op, struct sbx_pool *pool, bool lists) {
    struct survey *s = calloc(1, sizeof *s);
    if (s == NULL) {
        op_fail_memory(op);
        return;
    }
    s->op = op;
    s->pool = pool;
    pool_hold(pool);
    s->last = &s->hosts;
    s->lists = lists;
    s->settle = (struct io_timer){.fire = settle, .ctx = s};
    op->ctx = s;
    op->end = survey_ended;
    s->pages = (struct job_pages){.jobs = pool->jobs,
                                  .name = op->name,
                                  .hub_namespace = pool->hub_namespace,
                                  .pool = pool->name,
                                  .deadline = op->deadline,
                                  .item = item,
                                  .done = listed,
                                  .ctx = s};
    job_pages_begin(&s->pages);
}

void pool_info(struct op *op, struct sbx_pool *pool) {
    begin(op, pool, false);
}

void pool_sandboxes(struct op *op, struct sbx_pool *pool) {
    begin(op, pool, true);
}
