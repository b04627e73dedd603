#include "client/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/label.h"
#include "client/log.h"
#include "client/pool_local.h"
#include "client/provider.h"
#include "util/clock.h"
#include "util/testing.h"
#include "util/text.h"
#include "wire/limits.h"

#define LETTERS  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
#define MOST     1000000
#define WARM_MAX 1000

/* ---- Life */

void pool_hold(struct sbx_pool *pool) {
    pool->refs++;
}

static void enlist(struct sbx_pool *pool) {
    if (pool->jobs == NULL) return;
    pool->next = pool->jobs->pools;
    if (pool->next != NULL) pool->next->prev = pool;
    pool->jobs->pools = pool;
}

static void delist(struct sbx_pool *pool) {
    if (pool->jobs == NULL) return;
    *(pool->prev != NULL ? &pool->prev->next : &pool->jobs->pools) = pool->next;
    if (pool->next != NULL) pool->next->prev = pool->prev;
}

/* The last one: nobody waits, no sandbox has a handle. */
static void destroy(struct sbx_pool *pool) {
    struct sbx_client *client = pool->client;
    pool_look_stop(pool);
    if (pool->jobs == NULL) pool_local_close(pool);
    bool over = pool->deleted || !pool->detached;
    if (pool->cache_dirty && !over) pool_memory_save(pool, true);
    while (pool->hosts != NULL) {
        struct pool_host *ph = pool_host_of(pool->hosts);
        bool ends = ph->booted && ph->host != NULL && !pool->detached && !pool->deleted;
        if (ends) pool_end_host(ph->host);
        pool_host_drop(ph);
    }
    pool_unlock(pool);
    if (over && pool->cache_path != NULL) pool_cache_forget(pool->cache_path);
    io_timer_clear(&client->io, &pool->step);
    delist(pool);
    while (pool->shunned != NULL) {
        struct shunned *s = pool->shunned;
        pool->shunned = s->next;
        free(s);
    }
    free(pool->living);
    free(pool->cache_path);
    free(pool->dead);
    free(pool);
    client_release_locked(client);
}

void pool_release(struct sbx_pool *pool) {
    if (--pool->refs == 0) destroy(pool);
}

bool pool_plain(const struct sbx_pool *pool) {
    const char *own = pool->hub_namespace;
    return *own == '\0' || strcmp(own, jobs_namespace(pool->jobs, NULL)) == 0;
}

void pool_log(struct sbx_pool *pool, const char *id, const char *what, bool warn) {
    log_event(pool->client, warn ? SBX_LOG_WARNING : SBX_LOG_INFO, "pool.host", "pool", pool->name, "id", id,
              "what", what, NULL);
}

static struct sbx_pool *pool_new(struct sbx_client *client, const sbx_pool_options *o, bool connected) {
    struct sbx_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) return NULL;
    const char *image = o->image != NULL ? o->image : JOB_IMAGE, *space;
    bool is_space = label_image_is_space(image, &space), jobs = client->provider == &provider_jobs;
    *pool =
        (struct sbx_pool){.refs = 1,
                          .client = client,
                          .jobs = jobs ? jobs_of(client) : NULL,
                          .per_host = o->sandboxes_per_host > 0 ? o->sandboxes_per_host : POOL_PER_HOST,
                          .max_hosts = o->max_hosts,
                          .spread = o->spread != 0,
                          .stays = o->detached != 0,
                          .detached = connected || (o->detached != 0 && (!jobs || testing_off("pool-kept"))),
                          .idle_ms = o->idle_timeout_ms != 0 ? o->idle_timeout_ms : POOL_IDLE_MS,
                          .start_ms = o->start_timeout_ms > 0 ? o->start_timeout_ms : POOL_START_MS,
                          .adopt = o->adopt,
                          .connected = connected,
                          .configured = !connected,
                          .lock_fd = -1};
    snprintf(pool->image, sizeof pool->image, "%s%s", is_space ? "hf.co/spaces/" : "",
             is_space ? space : image);
    snprintf(pool->flavor, sizeof pool->flavor, "%s", o->flavor != NULL ? o->flavor : JOB_FLAVOR);
    snprintf(pool->hub_namespace, sizeof pool->hub_namespace, "%s",
             o->hub_namespace != NULL ? o->hub_namespace : "");
    if (o->name != NULL) snprintf(pool->name, sizeof pool->name, "%s", o->name);
    if (o->name == NULL) {
        memcpy(pool->name, "pool-", 5);
        if (!text_random_hex(6, pool->name + 5)) {
            free(pool);
            return NULL;
        }
    }
    if (jobs) {
        const char *ns = *pool->hub_namespace != '\0' ? pool->hub_namespace : pool->jobs->hub_namespace;
        pool->cache_path = pool_cache_path(pool->jobs->hub.endpoint.url, pool->jobs->hub.token,
                                           ns != NULL ? ns : "", pool->name);
    }
    enlist(pool);
    client_hold(client);
    return pool;
}

/* ---- Options */

static sbx_status check_name(const char *name, const char *function, sbx_error *err) {
    size_t len = name != NULL ? strspn(name, LETTERS ".") : 0;
    if (len > 0 && len <= LABEL_MAX && name[len] == '\0' && name[0] != '.') return SBX_OK;
    return error_set(err, SBX_ERROR_INVALID,
                     "%s: name is '%.60s': letters, digits, - _ and ., at most %d, no . at the beginning",
                     function, name != NULL ? name : "(NULL)", LABEL_MAX);
}

static sbx_status check_local(const sbx_pool_options *o, const char *function, sbx_error *err) {
    const char *odd = o->image != NULL           ? "image"
                      : o->flavor != NULL        ? "flavor"
                      : o->hub_namespace != NULL ? "hub_namespace"
                      : o->start_timeout_ms != 0 ? "start_timeout_ms"
                      : o->adopt != 0            ? "adopt"
                      : o->warm > 0              ? "warm"
                                                 : NULL;
    if (odd == NULL) return SBX_OK;
    return error_set(err, SBX_ERROR_INVALID,
                     "%s: %s is an option of provider jobs, and this client's is local", function, odd);
}

static sbx_status check_options(const sbx_pool_options *o, const struct sbx_client *client,
                                const char *function, sbx_error *err) {
    sbx_status status = o->name != NULL ? check_name(o->name, function, err) : SBX_OK;
    if (status == SBX_OK && client->provider != &provider_jobs) status = check_local(o, function, err);
    if (status != SBX_OK) return status;
    if (o->sandboxes_per_host > MOST || o->max_hosts > MOST)
        return error_set(err, SBX_ERROR_INVALID, "%s: sandboxes_per_host is %u and max_hosts %u: at most %d",
                         function, o->sandboxes_per_host, o->max_hosts, MOST);
    if (o->warm < -1 || o->warm > WARM_MAX)
        return error_set(err, SBX_ERROR_INVALID,
                         "%s: warm is %d: give -1 for none, 0 for the default, or up to %d", function,
                         o->warm, WARM_MAX);
    if (o->adopt < SBX_ADOPT_ALL || o->adopt > SBX_ADOPT_NONE)
        return error_set(err, SBX_ERROR_INVALID, "%s: adopt is %d: give one of SBX_ADOPT_*", function,
                         (int)o->adopt);
    if (o->start_timeout_ms < 0 || o->idle_timeout_ms < SBX_NO_TIMEOUT)
        return error_set(err, SBX_ERROR_INVALID,
                         "%s: %s is %lld: give a positive number, or 0 for the default", function,
                         o->start_timeout_ms < 0 ? "start_timeout_ms" : "idle_timeout_ms",
                         (long long)(o->start_timeout_ms < 0 ? o->start_timeout_ms : o->idle_timeout_ms));
    const sbx_sandbox_options host = {.size = sizeof host,
                                      .image = o->image,
                                      .flavor = o->flavor,
                                      .hub_namespace = o->hub_namespace,
                                      .idle_timeout_ms = o->idle_timeout_ms};
    return job_request_check(&host, function, err);
}

static sbx_status check_out(const void *out, const sbx_call *call, const char *function, sbx_error *err) {
    if (out != NULL || (call != NULL && call->queue != NULL)) return SBX_OK;
    return error_set(err, SBX_ERROR_INVALID, "%s: out is NULL", function);
}

/* ---- Making and finding */

static sbx_status make(sbx_pool **out, sbx_client *client, const char *name, const char *connect_to,
                       const sbx_pool_options *options, const sbx_call *call, sbx_error *err) {
    if (out != NULL) *out = NULL;
    bool connects = strcmp(name, "sbx_pool_connect") == 0;
    sbx_pool_options ours;
    sbx_status status = client_check(client, name, err);
    if (status == SBX_OK) status = check_out(out, call, name, err);
    if (status == SBX_OK) status = OPTIONS_COPY(&ours, options, hub_namespace, "sbx_pool_options", err);
    if (status == SBX_OK && connects) {
        status = check_name(connect_to, name, err);
        ours.name = connect_to;
        ours.image = ours.flavor = NULL;
        ours.sandboxes_per_host = ours.max_hosts = 0;
        ours.warm = -1;
    }
    if (status == SBX_OK) status = check_options(&ours, client, name, err);
    struct op *op;
    int64_t start = ours.start_timeout_ms > 0 ? ours.start_timeout_ms : POOL_START_MS;
    if (status == SBX_OK) status = op_begin(&op, client, NULL, name, call, connects ? 60000 : start, err);
    if (status != SBX_OK) return status;
    struct sbx_pool *pool = pool_new(client, &ours, connects);
    if (pool == NULL) {
        op_fail_memory(op);
    } else {
        if (pool->jobs == NULL) {
            pool_local_open(op, pool);
        } else {
            pool_warm(pool, op,
                      ours.warm < 0    ? 0
                      : ours.warm == 0 ? 1
                                       : (unsigned)ours.warm,
                      !connects, connects);
        }
        pool_release(pool);
    }
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status == SBX_OK) *out = done.pool;
    return status;
}

sbx_status sbx_pool_create(sbx_pool **out, sbx_client *client, const sbx_pool_options *options,
                           const sbx_call *call, sbx_error *err) {
    return make(out, client, "sbx_pool_create", NULL, options, call, err);
}

sbx_status sbx_pool_connect(sbx_pool **out, sbx_client *client, const char *name,
                            const sbx_pool_options *options, const sbx_call *call, sbx_error *err) {
    return make(out, client, "sbx_pool_connect", name, options, call, err);
}

const char *sbx_pool_name(const sbx_pool *pool) {
    return pool != NULL ? pool->name : "";
}

void sbx_pool_free(sbx_pool *pool) {
    if (pool == NULL || !client_is_ours(pool->client)) return;
    struct sbx_client *client = pool->client;
    client_hold(client);
    client_lock(client);
    pool_release(pool);
    client_unlock(client);
    client_release(client);
}

/* ---- Using */

static sbx_status begin(struct op **op, sbx_pool *pool, const char *name, const sbx_call *call,
                        int64_t timeout_ms, sbx_error *err) {
    if (pool == NULL) return error_set(err, SBX_ERROR_INVALID, "%s: pool is NULL", name);
    sbx_status status = client_check(pool->client, name, err);
    if (status == SBX_OK) status = op_begin(op, pool->client, NULL, name, call, timeout_ms, err);
    if (status != SBX_OK || !pool->deleted) return status;
    op_failf(*op, SBX_ERROR_STATE, "%s: pool '%s' was ended by sbx_pool_delete", name, pool->name);
    return SBX_OK;
}

static sbx_status check_shared(const sbx_sandbox_options *o, const struct sbx_pool *pool,
                               const char *function, sbx_error *err) {
    const char *odd = o->isolation != NULL                                    ? "isolation"
                      : o->network != NULL && strcmp(o->network, "host") != 0 ? "network"
                      : o->bind_count > 0                                     ? "binds"
                      : o->cwd != NULL                                        ? "cwd"
                      : o->limit_disk != 0                                    ? "limit_disk"
                      : o->limit_open_files != 0                              ? "limit_open_files"
                      : o->image != NULL                                      ? "image"
                      : o->flavor != NULL                                     ? "flavor"
                      : o->secrets != NULL && o->secrets[0] != NULL           ? "secrets"
                      : o->volumes != NULL && o->volumes[0] != NULL           ? "volumes"
                      : o->labels != NULL && o->labels[0] != NULL             ? "labels"
                      : o->hub_namespace != NULL                              ? "hub_namespace"
                      : o->lifetime_ms != 0                                   ? "lifetime_ms"
                      : o->max_cost_micro_usd != 0                            ? "max_cost_micro_usd"
                      : o->port_count > 0                                     ? "ports"
                      : o->client_key != NULL                                 ? "client_key"
                                                                              : NULL;
    if (odd != NULL)
        return error_set(err, SBX_ERROR_INVALID,
                         "%s: %s is no option of a sandbox in a pool: its host is there already", function,
                         odd);
    if (o->forward_hf_token)
        return error_set(err, SBX_ERROR_INVALID,
                         "%s: forward_hf_token is refused: the client's Hub token opens every sandbox of the "
                         "pool; give a token made "
                         "for the purpose in env",
                         function);
    for (size_t i = 0; o->env != NULL && o->env[i] != NULL && !testing_off("pool-forward"); i++)
        if (strstr(o->env[i], pool->jobs->hub.token) != NULL)
            return error_set(err, SBX_ERROR_INVALID,
                             "%s: env[%zu] holds the client's Hub token, which opens every sandbox of the "
                             "pool; give a token made for "
                             "the purpose",
                             function, i);
    return SBX_OK;
}

sbx_status sbx_pool_sandbox(sbx_sandbox **out, sbx_pool *pool, const sbx_sandbox_options *options,
                            const sbx_call *call, sbx_error *err) {
    const char *name = "sbx_pool_sandbox";
    if (out != NULL) *out = NULL;
    sbx_sandbox_options ours;
    sbx_status status = check_out(out, call, name, err);
    if (status == SBX_OK) status = OPTIONS_COPY(&ours, options, network, "sbx_sandbox_options", err);
    if (status == SBX_OK) status = sandbox_check_options(&ours, name, err);
    if (status == SBX_OK && pool != NULL)
        status =
            pool->jobs != NULL ? check_shared(&ours, pool, name, err) : job_request_absent(&ours, name, err);
    struct op *op;
    if (status == SBX_OK) status = begin(&op, pool, name, call, 120000, err);
    if (status != SBX_OK) return status;
    if (!op->ended) {
        if (pool->jobs != NULL) {
            pool_place(op, pool, &ours);
        } else {
            pool_local_place(op, pool, &ours);
        }
    }
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status == SBX_OK) *out = done.sandbox;
    return status;
}

sbx_status sbx_pool_warm(uint64_t *out, sbx_pool *pool, unsigned hosts, const sbx_call *call,
                         sbx_error *err) {
    struct op *op;
    if (hosts > WARM_MAX)
        return error_set(err, SBX_ERROR_INVALID, "sbx_pool_warm: hosts is %u: at most %d", hosts, WARM_MAX);
    sbx_status status = begin(&op, pool, "sbx_pool_warm", call, pool != NULL ? pool->start_ms : 0, err);
    if (status != SBX_OK) return status;
    if (op->ended) {
    } else if (pool->jobs != NULL) {
        pool_warm(pool, op, hosts, false, false);
    } else {
        op->out.number = 1;
        op_done(op, SBX_OK);
    }
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status == SBX_OK && out != NULL) *out = done.number;
    return status;
}

sbx_status sbx_pool_info(sbx_bytes **out, sbx_pool *pool, const sbx_call *call, sbx_error *err) {
    const char *name = "sbx_pool_info";
    struct op *op;
    if (out != NULL) *out = NULL;
    sbx_status status = check_out(out, call, name, err);
    if (status == SBX_OK) status = begin(&op, pool, name, call, 60000, err);
    if (status != SBX_OK) return status;
    if (!op->ended) (pool->jobs != NULL ? pool_info : pool_local_info)(op, pool);
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status == SBX_OK) *out = done.bytes;
    return status;
}

sbx_status sbx_pool_sandboxes(sbx_sandbox_list **out, sbx_pool *pool, const sbx_call *call, sbx_error *err) {
    const char *name = "sbx_pool_sandboxes";
    struct op *op;
    if (out != NULL) *out = NULL;
    sbx_status status = check_out(out, call, name, err);
    if (status == SBX_OK) status = begin(&op, pool, name, call, 60000, err);
    if (status != SBX_OK) return status;
    if (!op->ended) (pool->jobs != NULL ? pool_sandboxes : pool_local_sandboxes)(op, pool);
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status == SBX_OK) *out = done.sandboxes;
    return status;
}

sbx_status sbx_pool_delete(uint64_t *out, sbx_pool *pool, const sbx_call *call, sbx_error *err) {
    struct op *op;
    if (pool == NULL) return error_set(err, SBX_ERROR_INVALID, "sbx_pool_delete: pool is NULL");
    sbx_status status = client_check(pool->client, "sbx_pool_delete", err);
    if (status == SBX_OK) status = op_begin(&op, pool->client, NULL, "sbx_pool_delete", call, 60000, err);
    if (status != SBX_OK) return status;
    (pool->jobs != NULL ? pool_delete : pool_local_delete)(op, pool);
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status == SBX_OK && out != NULL) *out = done.number;
    return status;
}
