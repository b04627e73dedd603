#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/json.h"
#include "client/pool.h"
#include "util/clock.h"
#include "util/testing.h"
#include "wire/names.h"

void pool_shun(struct sbx_pool *pool, const char *id, int64_t ms) {
    struct shunned *s = *id != '\0' ? calloc(1, sizeof *s) : NULL;
    if (s == NULL) return;
    memcpy(s->id, id, strlen(id) + 1);
    s->until_ms = clock_ms() + ms;
    s->next = pool->shunned;
    pool->shunned = s;
}

static bool is_shunned(struct sbx_pool *pool, const char *id) {
    bool found = false;
    for (struct shunned **at = &pool->shunned; *at != NULL;) {
        struct shunned *s = *at;
        if (s->until_ms <= clock_ms()) {
            *at = s->next;
            free(s);
            continue;
        }
        found = found || strcmp(s->id, id) == 0;
        at = &s->next;
    }
    return found;
}

/* ---- Which of them */

static const char *why_not(const struct sbx_pool *pool, const struct job *job) {
    if (!jobs_made_by_us(pool->jobs, job)) return "another user has made it";
    if (job->nonce[0] == '\0') return "it has no label " JOB_LABEL_NONCE;
    if (pool->adopt == SBX_ADOPT_NONE) return "adopt is none";
    if (pool->adopt == SBX_ADOPT_RUNNING && job->phase != JOB_RUNS) return "it does not run yet";
    if (strcmp(job->image, pool->image) != 0) return "it has another image";
    if (strcmp(job->flavor, pool->flavor) != 0) return "it has another flavor";
    return NULL;
}

static bool note_living(struct sbx_pool *pool, const struct job *job) {
    if (pool->living_count == pool->living_room) {
        size_t room = pool->living_room == 0 ? 16 : pool->living_room * 2;
        struct pool_living *grown = realloc(pool->living, room * sizeof *grown);
        if (grown == NULL) return false;
        pool->living = grown;
        pool->living_room = room;
    }
    struct pool_living *l = &pool->living[pool->living_count++];
    *l = (struct pool_living){.created_ms = job->created_ms};
    memcpy(l->id, job->id, sizeof l->id);
    return true;
}

static unsigned number_of(const struct json *environment, const char *name, unsigned otherwise) {
    const char *text = json_string(environment, name);
    long number = text != NULL ? strtol(text, NULL, 10) : 0;
    return number > 0 && number <= 1000000000 ? (unsigned)number : otherwise;
}

/* A pool that was connected to is what its hosts are; a list may leave out their environment. */
void pool_look_settings(struct sbx_pool *pool, const struct json *environment) {
    if (!json_is_object(environment) || !pool->connected) return;
    pool->per_host = number_of(environment, ENV_CAPACITY, POOL_PER_HOST);
    pool->max_hosts = number_of(environment, ENV_MAX_HOSTS, 0);
    unsigned idle = number_of(environment, ENV_IDLE_TIMEOUT, 0);
    pool->idle_ms = idle > 0 ? (int64_t)idle * 1000 : SBX_NO_TIMEOUT;
}

static void configure(struct sbx_pool *pool, const struct job *job, const struct json *value) {
    if (!jobs_made_by_us(pool->jobs, job)) return;
    memcpy(pool->image, job->image, sizeof pool->image);
    memcpy(pool->flavor, job->flavor, sizeof pool->flavor);
    pool_look_settings(pool, json_get(value, "environment"));
    pool->configured = true;
}

/* What a file has said so far may be old or wrong. */
static void take_settings(struct sbx_pool *pool, const struct job *job, const struct json *value) {
    if (jobs_made_by_us(pool->jobs, job) && !testing_off("pool-told"))
        pool_look_settings(pool, json_get(value, "environment"));
}

void pool_look_at(struct sbx_pool *pool, const struct job *job, const struct json *value) {
    struct pool_host *ph = pool_host_find(pool, job->id);
    bool told = json_is_object(json_get(value, "environment")) || testing_off("pool-told");
    if (ph != NULL && ph->untold && !told) { /* it is found like another, which asks the Hub */
        pool_host_drop(ph);
        ph = NULL;
    }
    if (ph != NULL) {
        ph->seen = true;
        ph->runs = job->phase != JOB_WAITS;
        ph->created_ms = job->created_ms;
        if (!ph->booted && !testing_off("pool-told")) pool_host_settings(ph, json_get(value, "environment"));
        take_settings(pool, job, value);
        return;
    }
    if (!pool->configured) configure(pool, job, value);
    const char *bad = pool->configured ? why_not(pool, job) : "another user has made it";
    if (bad == NULL && is_shunned(pool, job->id)) return; /* pool->refused says why */
    if (bad != NULL) {
        error_set(&pool->refused, jobs_made_by_us(pool->jobs, job) ? SBX_ERROR_CONFLICT : SBX_ERROR_DENIED,
                  "host %s is not used: %s", job->id, bad);
    } else {
        take_settings(pool, job, value);
        pool_host_join(pool, job, value);
    }
}

static void item(void *ctx, const struct job *job, const struct json *value) {
    struct sbx_pool *pool = ctx;
    if (note_living(pool, job)) {
        pool_look_at(pool, job, value);
    } else {
        error_memory(&pool->look_error);
    }
}

/* ---- How full */

/* Of more than may be, who made the youngest cancels them: nobody else begins to use those. */
static void leave_out(struct sbx_pool *pool) {
    for (struct place *p = pool->hosts, *next; p != NULL; p = next) {
        struct pool_host *ph = pool_host_of(p);
        next = p->next;
        if (ph->booted || p->ready || !ph->seen || !pool_boot_beyond(pool, ph) || testing_off("pool-race"))
            continue;
        error_set(&pool->refused, SBX_ERROR_BUSY, "host %s is one more than max_hosts", ph->id);
        pool_host_drop(ph);
    }
}

static void listed(void *ctx, const sbx_error *error) {
    struct sbx_pool *pool = ctx;
    if (error != NULL && pool->look_error.code == SBX_OK) pool->look_error = *error;
    if (error == NULL) leave_out(pool);
    for (struct place *p = pool->hosts; p != NULL && error == NULL; p = p->next) {
        struct pool_host *ph = pool_host_of(p);
        if (ph->host == NULL || host_dead(ph->host)) continue;
        struct endpoint *agent = &ph->host->agent->endpoint;
        /* The Hub does not show it any more: it is asked about that one. */
        if (!ph->seen && agent->trouble != NULL) agent->trouble(agent->trouble_ctx);
        if (!p->ready || place_room(p) > 0 || ph->count != NULL) continue;
        pool_host_count(ph);
        ph->count_of_look = ph->count != NULL;
        pool->counting += ph->count_of_look;
    }
    pool_step_soon(pool);
}

void pool_look(struct sbx_pool *pool) {
    pool->looking = true;
    pool->look_fresh = pool->locked;
    pool->living_count = 0;
    pool->look_error.code = SBX_OK;
    pool->looked_ms = clock_ms();
    for (struct place *p = pool->hosts; p != NULL; p = p->next)
        pool_host_of(p)->seen = false;
    pool->look = (struct job_pages){.jobs = pool->jobs,
                                    .hub_namespace = pool->hub_namespace,
                                    .pool = pool->name,
                                    .deadline = clock_deadline(JOBS_CALL_MS),
                                    .item = item,
                                    .done = listed,
                                    .ctx = pool};
    job_pages_begin(&pool->look);
}

void pool_look_stop(struct sbx_pool *pool) {
    job_pages_stop(&pool->look);
    pool->looking = false;
}
