#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/pool.h"
#include "util/clock.h"
#include "util/testing.h"

#define LOCK_MS 25   /* between two tries at the lock of this computer */
#define LOOK_MS 1000 /* between two looks at the Hub while another program boots */

/* ---- Who waits for hosts */

static unsigned warm_wanted(const struct sbx_pool *pool) {
    unsigned most = 0;
    for (const struct warming *w = pool->warmings; w != NULL; w = w->next)
        if (w->hosts > most) most = w->hosts;
    return pool->max_hosts > 0 && most > pool->max_hosts ? pool->max_hosts : most;
}

static void warming_ended(struct op *op, sbx_status status) {
    struct warming *w = op->ctx;
    struct sbx_pool *pool = w->pool;
    struct warming **at = &pool->warmings;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    free(w);
    if (status != SBX_OK) pool_given_up(pool);
    pool_release(pool);
}

void pool_doing(const struct sbx_pool *pool, char *out, size_t room) {
    const struct place *p = pool->hosts;
    while (p != NULL && p->ready)
        p = p->next;
    const struct pool_host *ph = (const struct pool_host *)(const void *)p;
    if (ph != NULL && ph->boot != NULL && ph->boot->doing != NULL) {
        ph->boot->doing(ph->boot, out, room);
    } else if (ph != NULL && ph->machine != NULL) {
        job_wait_doing(ph->machine, out, room);
    } else {
        snprintf(out, room, "%s",
                 pool->posts != NULL                        ? "the host has not answered"
                 : pool->locked || pool->lock_since_ms == 0 ? "the Hub does not answer"
                                                            : "another program boots a host");
    }
}

static void warming_doing(const struct op *op, char *out, size_t room) {
    const struct warming *w = op->ctx;
    pool_doing(w->pool, out, room);
}

void pool_warm(struct sbx_pool *pool, struct op *op, unsigned hosts, bool creates, bool connecting) {
    struct warming *w = calloc(1, sizeof *w);
    if (w == NULL) {
        op_fail_memory(op);
        return;
    }
    *w = (struct warming){.next = pool->warmings, .pool = pool, .op = op, .hosts = hosts};
    w->creates = creates;
    w->connects = connecting;
    pool->warmings = w;
    if (connecting) pool->looked = false;
    pool_hold(pool);
    op->ctx = w;
    op->end = warming_ended;
    op->doing = warming_doing;
    pool_step_soon(pool);
}

static void give(struct warming *w, unsigned ready) {
    struct op *op = w->op;
    if (w->creates || w->connects) {
        pool_hold(w->pool);
        w->pool->detached |= w->pool->stays;
        op->out.pool = w->pool;
    } else {
        op->out.number = ready;
    }
    op_done(op, SBX_OK);
}

static bool any_sure(const struct sbx_pool *pool) {
    for (struct place *p = pool->hosts; p != NULL; p = p->next)
        if (p->ready || !pool_host_of(p)->unsure) return true;
    return false;
}

static bool connects(const struct sbx_pool *pool) {
    const struct warming *w = pool->warmings;
    while (w != NULL && !w->connects)
        w = w->next;
    return w != NULL;
}

static void settle_warm(struct sbx_pool *pool) {
    unsigned ready = 0;
    for (const struct place *p = pool->hosts; p != NULL; p = p->next)
        ready += p->ready;
    for (struct warming *w = pool->warmings, *next; w != NULL; w = next) {
        next = w->next;
        unsigned wanted = pool->max_hosts > 0 && w->hosts > pool->max_hosts ? pool->max_hosts : w->hosts;
        if (w->connects ? pool->configured && any_sure(pool) : ready >= wanted) give(w, ready);
    }
}

/* ---- Failures */

static void fail_op(struct op *op, const sbx_error *error) {
    sbx_error named;
    size_t len = strlen(op->name);
    bool said = strncmp(error->message, op->name, len) == 0 && error->message[len] == ':';
    error_set(&named, error->code, "%s%s%s", said ? "" : op->name, said ? "" : ": ", error->message);
    named.http_status = error->http_status;
    named.system_errno = error->system_errno;
    op_fail(op, &named);
}

void pool_fail_all(struct sbx_pool *pool, const sbx_error *error) {
    pool_hold(pool);
    while (pool->warmings != NULL)
        fail_op(pool->warmings->op, error);
    while (pool->first != NULL)
        fail_op(pool->first->op, error);
    pool_release(pool);
}

/* Those for whom there will be no place: the last that came. */
static void fail_lacking(struct sbx_pool *pool, const sbx_error *error) {
    sbx_error why = *error;
    pool_hold(pool);
    for (unsigned lacking = place_lacking(pool->hosts, pool->waiting); lacking > 0 && pool->last != NULL;
         lacking--)
        fail_op(pool->last->op, &why);
    unsigned hosts = 0;
    for (const struct place *p = pool->hosts; p != NULL; p = p->next)
        hosts++;
    for (struct warming *w = pool->warmings, *next; w != NULL; w = next) {
        next = w->next;
        unsigned wanted = pool->max_hosts > 0 && w->hosts > pool->max_hosts ? pool->max_hosts : w->hosts;
        if (hosts < wanted || (w->connects && hosts == 0)) fail_op(w->op, &why);
    }
    pool_release(pool);
}

/* Nobody waits any more: what was booted for them goes, and nobody else is kept from booting. */
void pool_given_up(struct sbx_pool *pool) {
    if (pool->waiting > 0 || pool->warmings != NULL || pool->posts != NULL) return;
    pool_look_stop(pool);
    if (!testing_off("pool-given-up"))
        for (struct place *p = pool->hosts, *next; p != NULL; p = next) {
            next = p->next;
            if (!p->ready) pool_host_drop(pool_host_of(p));
        }
    pool->checking = false;
    pool_unlock(pool);
}

/* ---- Growing */

static bool hosts_are_gone(const struct sbx_pool *pool) {
    return pool->connected && pool->hosts == NULL;
}

static void say_gone(struct sbx_pool *pool) {
    sbx_error error;
    bool others = pool->living_count > 0 && pool->refused.code != SBX_OK;
    error_set(&error, others ? pool->refused.code : SBX_ERROR_NOT_FOUND,
              others ? "pool '%s' has no host that can be used here: %s"
                     : "pool '%s' has no host any more: all have ended or were canceled; create it anew%s",
              pool->name, others ? pool->refused.message : "");
    pool_unlock(pool);
    pool_fail_all(pool, &error);
}

static void say_full(struct sbx_pool *pool) {
    sbx_error error;
    unsigned carried = 0;
    for (const struct place *p = pool->hosts; p != NULL; p = p->next)
        carried += p->capacity;
    bool odd = pool->refused.code != SBX_OK && pool->living_count > 0 && pool->hosts == NULL;
    error_set(&error, SBX_ERROR_BUSY,
              "pool '%s' is full: %zu of at most %u hosts are up and carry %u sandboxes%s%s; raise "
              "max_hosts, and boot a host that says so to others, or end some",
              pool->name, pool->living_count, pool->max_hosts, carried, odd ? ": " : "",
              odd ? pool->refused.message : "");
    pool_unlock(pool);
    fail_lacking(pool, &error);
}

static void wake(struct sbx_pool *pool, int64_t when) {
    sbx_error error;
    if (io_timer_set(&pool->client->io, &pool->step, when)) return;
    error_memory(&error);
    fail_lacking(pool, &error);
}

static void grow(struct sbx_pool *pool, unsigned wanted) {
    /* The answer may change it all. */
    if (pool->looking || pool->posting > 0) return;
    int64_t due = pool_posts_due(pool);
    if (pool->rest_until > due) due = pool->rest_until;
    if (due > clock_ms()) {
        wake(pool, due);
        return;
    }
    bool connecting = pool->hosts == NULL && connects(pool);
    if (pool->checking || (pool->locked && !pool->fresh) || (connecting && !pool->looked)) {
        pool_look(pool);
        return;
    }
    if (connecting) {
        say_gone(pool);
        return;
    }
    if (!pool->locked) {
        if (pool_lock(pool)) {
            pool_look(pool);
        } else if (clock_ms() - pool->looked_ms >= LOOK_MS) {
            pool_look(pool);
        } else {
            wake(pool, clock_ms() + LOCK_MS);
        }
        return;
    }
    if (hosts_are_gone(pool)) {
        say_gone(pool);
        return;
    }
    if (pool->max_hosts > 0) {
        size_t room = pool->living_count < pool->max_hosts ? pool->max_hosts - pool->living_count : 0;
        if (wanted > room) wanted = (unsigned)room;
    }
    if (wanted > 0) {
        pool_boot(pool, wanted);
        return;
    }
    say_full(pool);
}

static bool somebody_waits(const struct sbx_pool *pool) {
    return pool->waiting > 0 || pool->warmings != NULL;
}

static void look_is_done(struct sbx_pool *pool) {
    sbx_error error = pool->look_error;
    pool->looking = false;
    pool->looked = true;
    bool checked = pool->checking;
    if (error.code != SBX_OK) {
        pool->checking = false;
        pool_unlock(pool);
        fail_lacking(pool, &error);
        return;
    }
    pool->fresh = pool->look_fresh && pool->locked;
    if (!checked) return;
    pool->checking = false;
    pool_boot_check(pool);
    /* What the Hub has made is there for all to see. */
    pool_unlock(pool);
    if (pool->failure.code != SBX_OK) {
        error = pool->failure;
        pool->failure.code = SBX_OK;
        fail_lacking(pool, &error);
    }
}

static void place_them(struct sbx_pool *pool) {
    struct place *p;
    while (pool->waiting > 0 && (p = place_pick(pool->hosts, pool->spread)) != NULL)
        pool_post(pool, pool_host_of(p), place_share(pool->hosts, p, pool->spread, pool->waiting));
}

static void step(void *ctx) {
    struct sbx_pool *pool = ctx;
    pool_hold(pool);
    if (pool->looking && !pool->look.active && pool->counting == 0) look_is_done(pool);
    if (pool->failure.code != SBX_OK && !pool->checking && pool->posting == 0) {
        sbx_error error = pool->failure;
        pool->failure.code = SBX_OK;
        fail_lacking(pool, &error);
    }
    if (somebody_waits(pool) && !pool->seeded) pool_memory_seed(pool);
    place_them(pool);
    settle_warm(pool);
    unsigned wanted = place_wanted(pool->hosts, pool->waiting, warm_wanted(pool), pool->per_host);
    bool connecting = pool->hosts == NULL && connects(pool);
    if (wanted > 0 || connecting || pool->checking) {
        grow(pool, wanted);
    } else if (!pool->looking && pool->posting == 0) {
        pool_unlock(pool);
    }
    pool_release(pool);
}

void pool_step_soon(struct sbx_pool *pool) {
    pool->step.fire = step;
    pool->step.ctx = pool;
    if (!io_timer_set(&pool->client->io, &pool->step, clock_ms())) {
        sbx_error error;
        error_memory(&error);
        pool_fail_all(pool, &error);
    }
}
