#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/json.h"
#include "client/pool.h"
#include "util/clock.h"
#include "util/testing.h"
#include "wire/names.h"

#define RUNNING_MS 15000 /* one that has been running for long answers by then */
#define SHUN_MS    60000

struct pool_host *pool_host_of(struct place *place) {
    return (struct pool_host *)(void *)place;
}

struct pool_host *pool_host_find(const struct sbx_pool *pool, const char *id) {
    for (struct place *p = pool->hosts; p != NULL; p = p->next)
        if (strcmp(pool_host_of(p)->id, id) == 0) return pool_host_of(p);
    return NULL;
}

static void too_late(void *ctx) {
    struct pool_host *ph = ctx;
    sbx_error error;
    error_set(&error, SBX_ERROR_TIMEOUT, "host %s, which is %s, does not answer", ph->id,
              ph->machine != NULL ? ph->machine->job.stage : "RUNNING");
    pool_host_failed(ph, &error);
}

struct pool_host *pool_host_new(struct sbx_pool *pool) {
    struct pool_host *ph = calloc(1, sizeof *ph);
    if (ph == NULL) return NULL;
    ph->pool = pool;
    ph->place.capacity = pool->per_host;
    ph->limit = (struct io_timer){.fire = too_late, .ctx = ph};
    ph->timings = (sbx_timings){sizeof ph->timings, -1, -1, -1};
    struct place **at = &pool->hosts;
    while (*at != NULL)
        at = &(*at)->next;
    *at = &ph->place;
    return ph;
}

void pool_host_drop(struct pool_host *ph) {
    struct sbx_pool *pool = ph->pool;
    struct place **at = &pool->hosts;
    while (*at != &ph->place)
        at = &(*at)->next;
    *at = ph->place.next;
    io_timer_clear(&pool->client->io, &ph->limit);
    struct op *boot = ph->boot;
    ph->boot = NULL;
    if (boot != NULL && ph->id[0] == '\0' && pool->posting > 0) pool->posting--;
    op_drop(boot);
    hub_call_cancel(ph->inspect);
    job_wait_stop(&ph->wait);
    if (ph->count != NULL) {
        if (ph->count_of_look) pool->counting--;
        host_call_cancel(ph->count);
    }
    if (ph->machine != NULL) job_machine_free(ph->machine);
    if (ph->host != NULL) {
        ph->host->died = NULL;
        host_release(ph->host);
    }
    free(ph);
}

void pool_host_failed(struct pool_host *ph, const sbx_error *error) {
    struct sbx_pool *pool = ph->pool;
    bool ended =
        error->code == SBX_ERROR_AGENT || (ph->machine != NULL && ph->machine->job.phase == JOB_ENDED);
    pool_log(pool, ph->id, ended ? "ended" : "refused", true);
    pool->refused = *error;
    /* Of one that a file remembers, what the file says may be wrong. */
    if (!ended && (!ph->unsure || testing_off("pool-unsure"))) pool_shun(pool, ph->id, SHUN_MS);
    pool_memory_dead(pool, ph->id);
    pool_host_drop(ph);
    pool_step_soon(pool);
}

/* ---- Ready */

static void host_died(void *ctx) {
    struct pool_host *ph = ctx;
    struct sbx_pool *pool = ph->pool;
    pool_log(pool, ph->id, "ended", true);
    pool_memory_dead(pool, ph->id);
    pool_host_drop(ph);
    pool_step_soon(pool);
}

static void is_up(struct pool_host *ph) {
    struct sbx_pool *pool = ph->pool;
    ph->place.ready = true;
    ph->unsure = false;
    io_timer_clear(&pool->client->io, &ph->limit);
    pool_log(pool, ph->id, ph->booted ? "booted" : "found", false);
    pool_memory_save(pool, true);
    pool_step_soon(pool);
}

static void counted(void *ctx, const struct host_reply *reply) {
    struct pool_host *ph = ctx;
    struct sbx_pool *pool = ph->pool;
    ph->count = NULL;
    if (ph->count_of_look) pool->counting--;
    ph->count_of_look = false;
    pool_step_soon(pool);
    struct json *list = reply->status == SBX_OK ? json_parse(reply->body->data, reply->body->len) : NULL;
    bool ok = json_is_array(list), starts = !ph->place.ready;
    if (ok) {
        ph->place.live = (unsigned)json_count(list);
    }
    json_free(list);
    if (reply->dead) return; /* host_died comes */
    if (ok && starts) {
        is_up(ph);
    } else if (!ok && (starts || reply->http_status == 0)) {
        sbx_error error = reply->error;
        if (reply->status == SBX_OK)
            error_set(&error, SBX_ERROR_PROTOCOL,
                      "host %s carries no sandboxes: its agent is not in host mode", ph->id);
        pool_host_failed(ph, &error);
    }
}

void pool_host_count(struct pool_host *ph) {
    if (ph->count != NULL) return;
    ph->count = host_call(ph->host, &(struct host_call_spec){.method = "GET",
                                                             .log_route = "sandboxes",
                                                             .what = "counting the sandboxes of a host",
                                                             .target = "/v1/sandboxes",
                                                             .repeatable = true,
                                                             .deadline = clock_deadline(RUNNING_MS),
                                                             .done = counted,
                                                             .ctx = ph});
}

void pool_host_ready(struct pool_host *ph, struct sbx_sandbox *agent) {
    struct sbx_pool *pool = ph->pool;
    ph->host = host_new(pool->jobs, agent);
    sbx_error error;
    if (ph->host == NULL) {
        error_memory(&error);
        pool_host_failed(ph, &error);
        return;
    }
    ph->host->died = host_died;
    ph->host->ctx = ph;
    /* What an agent can do it tells only to who has its key. */
    if (ph->booted || (ph->unsure && host_honours_keys(ph->host))) {
        is_up(ph);
        return;
    }
    pool_host_count(ph);
    if (ph->count != NULL) return;
    error_memory(&error);
    pool_host_failed(ph, &error);
}

/* ---- One that was found */

static void answers(void *ctx, struct endpoint *agent) {
    struct pool_host *ph = ctx;
    struct job_machine *m = ph->machine;
    ph->machine = NULL;
    struct sbx_sandbox *handle = job_machine_sandbox(m, agent);
    if (handle != NULL) {
        pool_host_ready(ph, handle);
        return;
    }
    ph->machine = m;
    sbx_error error;
    error_memory(&error);
    pool_host_failed(ph, &error);
}

static void answers_not(void *ctx, const sbx_error *error) {
    pool_host_failed(ctx, error);
}

static void wait_for(struct pool_host *ph) {
    struct sbx_pool *pool = ph->pool;
    sbx_error error;
    ph->wait = (struct job_wait){.jobs = pool->jobs,
                                 .machine = ph->machine,
                                 .name = "waiting for a host",
                                 .begun_ms = clock_ms(),
                                 .deadline = ph->limit.when,
                                 .ready = answers,
                                 .failed = answers_not,
                                 .ctx = ph,
                                 .timings = &ph->timings};
    if (!job_wait_begin(&ph->wait, &error)) pool_host_failed(ph, &error);
}

void pool_host_settings(struct pool_host *ph, const struct json *environment) {
    const char *text = json_string(environment, ENV_CAPACITY);
    long capacity = text != NULL ? strtol(text, NULL, 10) : 0;
    if (capacity > 0 && capacity <= 1000000) ph->place.capacity = (unsigned)capacity;
    if (json_is_object(environment)) ph->untold = false;
}

static void inspected(void *ctx, const struct hub_reply *reply) {
    struct pool_host *ph = ctx;
    ph->inspect = NULL;
    struct json *value = reply->status == SBX_OK ? json_parse(reply->body->data, reply->body->len) : NULL;
    pool_host_settings(ph, json_get(value, "environment"));
    pool_look_settings(ph->pool, json_get(value, "environment"));
    json_free(value);
    wait_for(ph);
}

static void inspect(struct pool_host *ph) {
    char target[256];
    snprintf(target, sizeof target, "/api/jobs/%s/%s", ph->machine->hub_namespace, ph->id);
    ph->inspect = hub_call(&ph->pool->jobs->hub,
                           &(struct hub_call_spec){.method = "GET",
                                                   .log_route = "jobs/:ns/:id",
                                                   .what = "asking about a host",
                                                   .target = target,
                                                   .repeatable = true,
                                                   .deadline = ph->limit.when,
                                                   .done = inspected,
                                                   .ctx = ph},
                           NULL);
    if (ph->inspect == NULL) wait_for(ph);
}

/* Takes url over. */
static struct pool_host *begin(struct sbx_pool *pool, const struct job *job, const char *owner, char *url,
                               int64_t limit_ms) {
    struct pool_host *ph = pool_host_new(pool);
    if (ph != NULL) ph->machine = job_machine_new(pool->jobs, job, owner);
    if (ph == NULL || ph->machine == NULL) {
        free(url);
        if (ph != NULL) pool_host_drop(ph);
        return NULL;
    }
    ph->machine->url = url;
    memcpy(ph->id, job->id, sizeof ph->id);
    ph->created_ms = job->created_ms;
    if (io_timer_set(&pool->client->io, &ph->limit, clock_deadline(limit_ms))) return ph;
    pool_host_drop(ph);
    return NULL;
}

void pool_host_join(struct sbx_pool *pool, const struct job *job, const struct json *value) {
    bool foreign = false;
    char *url = job_port_url(value, job->id, WIRE_PORT, pool->jobs->hub.endpoint.url, &foreign);
    if (url == NULL) {
        error_set(&pool->refused, SBX_ERROR_PROTOCOL, "the Hub names %s address for host %s",
                  foreign ? "a foreign" : "no", job->id);
        return;
    }
    bool old =
        job->phase == JOB_RUNS && job->started_ms > 0 && clock_wall_ms() - job->started_ms > RUNNING_MS;
    struct pool_host *ph = begin(pool, job, jobs_namespace(pool->jobs, pool->hub_namespace), url,
                                 old && pool->start_ms > RUNNING_MS ? RUNNING_MS : pool->start_ms);
    if (ph == NULL) return;
    const struct json *environment = json_get(value, "environment");
    pool_host_settings(ph, environment);
    ph->seen = true;
    if (json_is_object(environment)) {
        wait_for(ph);
    } else {
        inspect(ph);
    }
}

void pool_host_seed(struct sbx_pool *pool, const struct pool_cache_host *known) {
    struct job job = {.phase = JOB_RUNS, .sandbox = true, .pool = true, .stage = "RUNNING"};
    memcpy(job.id, known->id, sizeof job.id);
    memcpy(job.owner, known->owner, sizeof job.owner);
    memcpy(job.nonce, known->nonce, sizeof job.nonce);
    memcpy(job.image, pool->image, sizeof job.image);
    memcpy(job.flavor, pool->flavor, sizeof job.flavor);
    memcpy(job.pool_name, pool->name, sizeof job.pool_name);
    char *url = strdup(known->url);
    struct pool_host *ph = url != NULL ? begin(pool, &job, known->owner, url, RUNNING_MS) : NULL;
    if (ph == NULL) return;
    ph->unsure = ph->untold = true;
    ph->place.capacity = known->capacity;
    ph->place.live = known->live;
    wait_for(ph);
}
