#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/pool.h"
#include "util/clock.h"
#include "util/testing.h"
#include "wire/names.h"

#define SAVE_MS 1000 /* between two writings of what matters little */

void pool_memory_dead(struct sbx_pool *pool, const char *id) {
    if (*id == '\0') return;
    char(*grown)[JOB_ID_SIZE] = realloc(pool->dead, (pool->dead_count + 1) * sizeof *grown);
    if (grown == NULL) return;
    pool->dead = grown;
    memcpy(grown[pool->dead_count++], id, strlen(id) + 1);
    pool_memory_save(pool, true);
}

/* Of the file only what fits to what is asked for, and could be a host of ours. */
static bool usable(const struct sbx_pool *pool, const struct pool_cache_host *h, int64_t now_s) {
    bool fresh = h->updated_s <= now_s + 60 && now_s - h->updated_s <= POOL_CACHE_FRESH_S;
    bool safe =
        job_url_ok(h->url, h->id, WIRE_PORT, pool->jobs->hub.endpoint.url) || testing_off("pool-cache-url");
    return fresh && safe && h->live < h->capacity && pool_host_find(pool, h->id) == NULL;
}

void pool_memory_seed(struct sbx_pool *pool) {
    struct pool_cache cache;
    pool->seeded = true;
    if (pool->cache_path == NULL || pool->adopt == SBX_ADOPT_NONE || testing_off("pool-cache")) return;
    if (!pool_cache_read(&cache, pool->cache_path, pool->name)) return;
    if (pool->connected && !pool->configured) {
        memcpy(pool->image, cache.image, sizeof pool->image);
        memcpy(pool->flavor, cache.flavor, sizeof pool->flavor);
        pool->per_host = cache.per_host;
        pool->max_hosts = cache.max_hosts;
        pool->idle_ms = cache.idle_s >= 0 ? cache.idle_s * 1000 : SBX_NO_TIMEOUT;
        pool->configured = cache.count > 0;
    }
    bool same = strcmp(cache.image, pool->image) == 0 && strcmp(cache.flavor, pool->flavor) == 0;
    for (size_t i = 0; i < cache.count && same; i++)
        if (usable(pool, &cache.hosts[i], clock_wall_ms() / 1000)) pool_host_seed(pool, &cache.hosts[i]);
    pool_cache_free(&cache);
}

static void fill(const struct sbx_pool *pool, struct pool_cache *cache) {
    int64_t now_s = clock_wall_ms() / 1000;
    for (struct place *p = pool->hosts; p != NULL; p = p->next) {
        const struct pool_host *ph = pool_host_of(p);
        if (ph->host == NULL || !p->ready) continue;
        const struct job_machine *m = ph->host->machine;
        if (strlen(m->url) >= sizeof cache->hosts->url) continue;
        struct pool_cache_host *h = &cache->hosts[cache->count++];
        *h = (struct pool_cache_host){.capacity = p->capacity, .live = p->live, .updated_s = now_s};
        memcpy(h->id, m->job.id, sizeof h->id);
        memcpy(h->owner, m->hub_namespace, sizeof h->owner);
        memcpy(h->nonce, m->job.nonce, sizeof h->nonce);
        memcpy(h->url, m->url, strlen(m->url) + 1);
    }
}

static enum pool_cache_written save(struct sbx_pool *pool) {
    size_t hosts = 1;
    for (const struct place *p = pool->hosts; p != NULL; p = p->next)
        hosts++;
    struct pool_cache cache = {.per_host = pool->per_host,
                               .max_hosts = pool->max_hosts,
                               .idle_s = pool->idle_ms == SBX_NO_TIMEOUT ? -1 : (pool->idle_ms + 999) / 1000,
                               .hosts = calloc(hosts, sizeof *cache.hosts)};
    const char **dead = calloc(pool->dead_count + 1, sizeof *dead);
    enum pool_cache_written written = POOL_CACHE_FAILED;
    memcpy(cache.pool, pool->name, sizeof cache.pool);
    memcpy(cache.image, pool->image, sizeof cache.image);
    memcpy(cache.flavor, pool->flavor, sizeof cache.flavor);
    memcpy(cache.hub_namespace, pool->hub_namespace, sizeof cache.hub_namespace);
    for (size_t i = 0; dead != NULL && i < pool->dead_count; i++)
        dead[i] = pool->dead[i];
    if (cache.hosts != NULL && dead != NULL) {
        fill(pool, &cache);
        written = pool_cache_write(pool->cache_path, &cache, dead, pool->dead_count);
    }
    free(dead);
    pool_cache_free(&cache);
    return written;
}

/* Another program that writes at the same moment has its way: what is not written now is written next time.
 */
void pool_memory_save(struct sbx_pool *pool, bool now) {
    if (pool->cache_path == NULL || !pool->configured) return;
    pool->cache_dirty = true;
    if (!now && clock_ms() - pool->cached_ms < SAVE_MS) return;
    if (save(pool) == POOL_CACHE_BUSY) return;
    pool->cache_dirty = false;
    pool->cached_ms = clock_ms();
}
