#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/job_create.h"
#include "client/job_end.h"
#include "client/pool.h"
#include "util/clock.h"
#include "util/testing.h"

#define BOOTS_MAX 64 /* at once */

/* ---- One at a time on this computer */

bool pool_lock(struct sbx_pool *pool) {
    bool busy;
    if (pool->locked) return true;
    if (pool->lock_since_ms == 0) pool->lock_since_ms = clock_ms();
    pool->lock_fd = testing_off("pool-lock") ? -1 : pool_cache_lock(pool->cache_path, &busy);
    bool without = pool->lock_fd < 0 && (testing_off("pool-lock") || !busy);
    /* Who holds it so long has been stopped: what the Hub says is what counts anyway. */
    bool patient = clock_ms() - pool->lock_since_ms < pool->start_ms;
    if (pool->lock_fd < 0 && !without && patient) return false;
    pool->locked = true;
    pool->driven = !testing_off("pool-driven") && io_background(&pool->client->io, 1);
    if (pool->driven) pool_hold(pool);
    pool->lock_since_ms = 0;
    pool->fresh = false;
    return true;
}

void pool_unlock(struct sbx_pool *pool) {
    pool->lock_since_ms = 0;
    if (!pool->locked) return;
    pool_cache_unlock(pool->lock_fd);
    pool->lock_fd = -1;
    pool->locked = false;
    pool->fresh = false;
    bool driven = pool->driven;
    pool->driven = false;
    if (driven) io_background(&pool->client->io, -1);
    if (driven) pool_release(pool);
}

/* ---- One host */

static void accepted(void *ctx, const struct job *job) {
    struct pool_host *ph = ctx;
    bool first = ph->id[0] == '\0';
    memcpy(ph->id, job->id, sizeof ph->id);
    ph->created_ms = job->created_ms;
    if (first) ph->pool->posting--;
    pool_step_soon(ph->pool);
}

static void given_up(void *ctx, struct job_machine *machine) {
    struct pool_host *ph = ctx;
    if (machine->job.phase == JOB_WAITS && !ph->runs) {
        job_end_machine(machine, "user");
    } else {
        pool_end_machine(ph->pool->jobs, machine);
    }
}

static void booted(void *ctx, sbx_completion *out) {
    struct pool_host *ph = ctx;
    struct sbx_pool *pool = ph->pool;
    ph->boot = NULL;
    if (ph->id[0] == '\0') pool->posting--;
    pool_step_soon(pool);
    if (out->status == SBX_OK) {
        pool_host_ready(ph, out->sandbox);
        return;
    }
    pool->failure = out->error;
    pool_host_drop(ph);
}

static void boot_one(struct sbx_pool *pool) {
    struct pool_host *ph = pool_host_new(pool);
    if (ph != NULL) ph->boot = op_apart(pool->client, "booting a host", pool->start_ms, booted, ph);
    if (ph == NULL || ph->boot == NULL) {
        error_memory(&pool->failure);
        if (ph != NULL) pool_host_drop(ph);
        return;
    }
    ph->booted = true;
    ph->round = pool->round;
    ph->settings = (struct job_host_settings){.pool = pool->name,
                                              .capacity = pool->per_host,
                                              .max_hosts = pool->max_hosts,
                                              .accepted = accepted,
                                              .given_up = given_up,
                                              .ctx = ph};
    pool->posting++;
    const sbx_sandbox_options options = {.size = sizeof options,
                                         .image = pool->image,
                                         .flavor = pool->flavor,
                                         .hub_namespace =
                                             pool->hub_namespace[0] != '\0' ? pool->hub_namespace : NULL,
                                         .idle_timeout_ms = pool->idle_ms,
                                         .detached = 1};
    job_create_host(ph->boot, &options, &ph->settings); /* ph may be gone then */
}

void pool_boot(struct sbx_pool *pool, unsigned hosts) {
    pool->round++;
    pool->fresh = false;
    pool->checking = true;
    pool->failure.code = SBX_OK;
    for (unsigned i = 0; i < hosts && i < BOOTS_MAX; i++)
        boot_one(pool);
    pool_step_soon(pool);
}

/* ---- Of several computers that boot at the same moment, those whose hosts are older keep them */

bool pool_boot_beyond(const struct sbx_pool *pool, const struct pool_host *ph) {
    struct place_living own = {.id = ph->id, .created_ms = ph->created_ms};
    size_t older = 0;
    for (size_t i = 0; i < pool->living_count; i++) {
        struct place_living l = {.id = pool->living[i].id, .created_ms = pool->living[i].created_ms};
        older += place_older(&l, &own);
    }
    return pool->max_hosts > 0 && older >= pool->max_hosts;
}

/* Another one's host that was not there when this round began, is older, and takes our sandboxes as well. */
static bool is_superseded(const struct sbx_pool *pool, const struct place_living *ours) {
    for (const struct place *p = pool->hosts; p != NULL; p = p->next) {
        const struct pool_host *other = (const struct pool_host *)(const void *)p;
        struct place_living theirs = {.id = other->id, .created_ms = other->created_ms};
        if (!other->booted && !p->ready && place_older(&theirs, ours)) return true;
    }
    return false;
}

static bool is_needed(const struct sbx_pool *pool, const struct pool_host *ph) {
    unsigned warm = 0, hosts = 0, coming = 0;
    for (const struct warming *w = pool->warmings; w != NULL; w = w->next)
        if (w->hosts > warm) warm = w->hosts;
    for (const struct place *p = pool->hosts; p != NULL; p = p->next) {
        hosts++;
        if (p != &ph->place) coming += p->ready ? place_room(p) : p->capacity;
    }
    return hosts <= warm || coming < pool->waiting;
}

/* The youngest one of this round that others have made needless. */
static struct pool_host *needless(struct sbx_pool *pool) {
    struct pool_host *youngest = NULL;
    struct place_living own = {0};
    for (struct place *p = pool->hosts; p != NULL; p = p->next) {
        struct pool_host *ph = pool_host_of(p);
        struct place_living l = {.id = ph->id, .created_ms = ph->created_ms};
        if (ph->round != pool->round || p->ready || ph->id[0] == '\0') continue;
        if (youngest != NULL && !place_older(&own, &l)) continue;
        youngest = ph;
        own = l;
    }
    if (youngest == NULL || testing_off("pool-race")) return NULL;
    bool goes = pool_boot_beyond(pool, youngest) ||
                (!youngest->runs && is_superseded(pool, &own) && !is_needed(pool, youngest));
    return goes ? youngest : NULL;
}

void pool_boot_check(struct sbx_pool *pool) {
    for (struct pool_host *ph; (ph = needless(pool)) != NULL;) {
        pool_log(pool, ph->id, "lost", true);
        for (size_t i = 0; i < pool->living_count; i++)
            if (strcmp(pool->living[i].id, ph->id) == 0) pool->living[i] = pool->living[--pool->living_count];
        pool_host_drop(ph);
    }
}
