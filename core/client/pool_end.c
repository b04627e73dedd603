#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/job_end.h"
#include "client/json.h"
#include "client/log.h"
#include "client/pool.h"
#include "util/clock.h"
#include "util/testing.h"
#include "wire/limits.h"

#define ASK_MS 10000 /* whether somebody uses a host */

/* ---- A host that only this program may have used */

static bool is_ours(const struct host *host, const char *name) {
    for (const struct shared *s = host->shared; s != NULL; s = s->next)
        if ((s->owned || s->ended) && name != NULL && strcmp(s->name, name) == 0) return true;
    return false;
}

static void end_or_leave(struct host *host, const struct host_reply *reply, bool others) {
    struct job_machine *m = host->machine;
    others = others || reply->http_status == 401 || reply->http_status == 403;
    if (testing_off("pool-others")) others = false;
    if (others) {
        log_event(host->client, SBX_LOG_INFO, "pool.host", "pool", m->job.pool_name, "id", m->job.id, "what",
                  "left", NULL);
        shared_end_owned(host);
    } else if (!reply->dead && m->made) {
        job_end_machine(m, "user");
    } else if (!reply->dead) {
        job_end_id(host->jobs, m->hub_namespace, m->job.id);
    }
    host_release(host);
}

static void listed_last(void *ctx, const struct host_reply *reply) {
    struct host *host = ctx;
    bool others = false;
    struct json *list = reply->status == SBX_OK ? json_parse(reply->body->data, reply->body->len) : NULL;
    for (const struct json *item = json_first(list); item != NULL && !others; item = json_next(item))
        others = !is_ours(host, json_string(item, "id"));
    json_free(list);
    end_or_leave(host, reply, others);
}

static void retired(void *ctx, const struct host_reply *reply) {
    struct host *host = ctx;
    end_or_leave(host, reply, reply->http_status == 409);
}

/* Our agent looks and ends at once, so that nobody can begin to use it meanwhile. */
static struct host_call *ask_retire(struct host *host) {
    struct buf body = BUF_INIT(LIMIT_SMALL_BODY);
    const char *comma = "";
    buf_puts(&body, "{\"ours\":[");
    for (const struct shared *s = host->shared; s != NULL; s = s->next) {
        if (!s->owned && !s->ended) continue;
        buf_puts(&body, comma);
        json_put_text(&body, s->name);
        comma = ",";
    }
    buf_puts(&body, "]}");
    struct host_call *call =
        body.failed ? NULL
                    : host_call(host, &(struct host_call_spec){.method = "POST",
                                                               .log_route = "retire",
                                                               .what = "ending a host",
                                                               .target = "/v1/retire",
                                                               .body = body.data,
                                                               .body_len = body.len,
                                                               .repeatable = true,
                                                               .accepts = 409,
                                                               .deadline = clock_deadline(ASK_MS),
                                                               .done = retired,
                                                               .ctx = host});
    buf_free(&body);
    return call;
}

static struct host_call *ask_list(struct host *host) {
    return host_call(host, &(struct host_call_spec){.method = "GET",
                                                    .log_route = "sandboxes",
                                                    .what = "asking whether a host is in use",
                                                    .target = "/v1/sandboxes",
                                                    .repeatable = true,
                                                    .deadline = clock_deadline(ASK_MS),
                                                    .done = listed_last,
                                                    .ctx = host});
}

static void ask(void *ctx) {
    struct host *host = ctx;
    host->quiet = NULL;
    bool atomic = host_honours_keys(host) && !testing_off("pool-retire");
    struct host_call *call = atomic ? ask_retire(host) : ask_list(host);
    if (call != NULL && host_call_apart(call)) return;
    host_call_cancel(call);
    host_release(host);
}

void pool_end_host(struct host *host) {
    if (host_dead(host) || testing_off("pool-end")) return;
    host_hold(host);
    host->died = NULL;
    host->quiet = ask;
    host->ctx = host;
    /* Sandboxes that are just being ended do not count. */
    if (host->calls == NULL) ask(host);
}

void pool_end_machine(struct jobs *jobs, const struct job_machine *machine) {
    struct endpoint agent;
    char token[65];
    struct job_machine *m = job_machine_new(jobs, &machine->job, machine->hub_namespace);
    if (m != NULL) m->url = strdup(machine->url);
    job_token(jobs->hub.token, machine->job.nonce, token);
    bool ok = m != NULL && m->url != NULL &&
              endpoint_make(&agent, ENDPOINT_URL, m->url, NULL, -1, token, 0, NULL) == SBX_OK;
    explicit_bzero(token, sizeof token);
    struct sbx_sandbox *handle = NULL;
    if (ok && endpoint_set_bearer(&agent, jobs->hub.token, NULL) == SBX_OK) {
        handle = job_machine_sandbox(m, &agent);
    } else if (ok) {
        endpoint_free(&agent);
    }
    struct host *host = handle != NULL ? host_new(jobs, handle) : NULL;
    if (handle == NULL) {
        if (m != NULL) job_machine_free(m);
        job_end_id(jobs, machine->hub_namespace, machine->job.id);
    } else if (host != NULL) {
        pool_end_host(host);
        host_release(host);
    }
}

void pool_end_all(struct jobs *jobs) {
    for (struct sbx_pool *pool = jobs->pools; pool != NULL; pool = pool->next) {
        if (!pool->detached && pool->cache_path != NULL) pool_cache_forget(pool->cache_path);
        for (struct place *p = pool->hosts, *next; p != NULL; p = next) {
            struct pool_host *ph = pool_host_of(p);
            next = p->next;
            if (ph->host == NULL) continue;
            if (ph->booted && !pool->detached) {
                pool_end_host(ph->host);
            } else {
                shared_end_owned(ph->host);
            }
        }
    }
}

/* ---- All of a pool */

struct deletion {
    struct op *op;
    struct sbx_pool *pool; /* held */
    struct job_pages pages;
    struct canceling *calls;
    size_t under_way;
    sbx_error failure;
};

struct canceling {
    struct canceling *next;
    struct deletion *deletion;
    struct hub_call *call;
};

static void deletion_ended(struct op *op, sbx_status status) {
    struct deletion *d = op->ctx;
    struct sbx_pool *pool = d->pool;
    (void)status;
    job_pages_stop(&d->pages);
    while (d->calls != NULL) {
        struct canceling *c = d->calls;
        d->calls = c->next;
        hub_call_cancel(c->call);
        free(c);
    }
    free(d);
    /* They say so themselves now. */
    for (struct place *p = pool->hosts; p != NULL; p = p->next) {
        struct host *host = pool_host_of(p)->host;
        if (host != NULL && host->agent->endpoint.trouble != NULL)
            host->agent->endpoint.trouble(host->agent->endpoint.trouble_ctx);
    }
    pool_release(pool);
}

static void check(struct deletion *d) {
    if (d->under_way > 0 || d->pages.active) return;
    if (d->failure.code != SBX_OK) {
        op_failf(d->op, d->failure.code, "%s: %s (%llu hosts were ended)", d->op->name, d->failure.message,
                 (unsigned long long)d->op->out.number);
    } else {
        op_done(d->op, SBX_OK);
    }
}

static void canceled(void *ctx, const struct hub_reply *reply) {
    struct canceling *c = ctx;
    struct deletion *d = c->deletion;
    c->call = NULL;
    d->under_way--;
    int status = reply->http_status;
    if (reply->status == SBX_OK || status == 400 || status == 409 ||
        status == 410) { /* or had ended already */
        d->op->out.number++;
    } else if (d->failure.code == SBX_OK) {
        d->failure = reply->error;
    }
    check(d);
}

static void item(void *ctx, const struct job *job, const struct json *value) {
    struct deletion *d = ctx;
    char target[256];
    (void)value;
    if (!jobs_made_by_us(d->pool->jobs, job)) return;
    struct canceling *c = calloc(1, sizeof *c);
    if (c == NULL) {
        error_memory(&d->failure);
        return;
    }
    *c = (struct canceling){.next = d->calls, .deletion = d};
    d->calls = c;
    snprintf(target, sizeof target, "/api/jobs/%s/%s/cancel",
             jobs_namespace(d->pool->jobs, d->pool->hub_namespace), job->id);
    c->call = hub_call(&d->pool->jobs->hub,
                       &(struct hub_call_spec){.method = "POST",
                                               .log_route = "jobs/:ns/:id/cancel",
                                               .what = "canceling a host",
                                               .target = target,
                                               .repeatable = true,
                                               .accepts = 404,
                                               .deadline = d->op->deadline,
                                               .done = canceled,
                                               .ctx = c},
                       &d->failure);
    if (c->call != NULL) d->under_way++;
}

static void listed(void *ctx, const sbx_error *error) {
    struct deletion *d = ctx;
    if (error != NULL && d->failure.code == SBX_OK) d->failure = *error;
    check(d);
}

void pool_delete(struct op *op, struct sbx_pool *pool) {
    struct deletion *d = calloc(1, sizeof *d);
    sbx_error error;
    if (d == NULL) {
        op_fail_memory(op);
        return;
    }
    pool->deleted = true;
    error_set(&error, SBX_ERROR_STATE, "pool '%s' was ended by sbx_pool_delete", pool->name);
    pool_hold(pool);
    d->op = op;
    d->pool = pool;
    op->ctx = d;
    op->end = deletion_ended;
    pool_fail_all(pool, &error);
    for (struct place *p = pool->hosts, *next; p != NULL; p = next) {
        next = p->next;
        pool_memory_dead(pool, pool_host_of(p)->id);
        if (!p->ready) pool_host_drop(pool_host_of(p));
    }
    d->pages = (struct job_pages){.jobs = pool->jobs,
                                  .name = op->name,
                                  .hub_namespace = pool->hub_namespace,
                                  .pool = pool->name,
                                  .deadline = op->deadline,
                                  .item = item,
                                  .done = listed,
                                  .ctx = d};
    job_pages_begin(&d->pages);
}
