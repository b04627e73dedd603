/* What this computer remembers of a pool's hosts, so that the next program need not ask the Hub: a hint,
   which the hosts themselves confirm. The file's form is the first generation's of the Hub's own client; its
   directory is named after the Hub, the token and the namespace. No lock is needed. */
#ifndef CLIENT_POOL_CACHE_H
#define CLIENT_POOL_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/job.h"
#include "util/buf.h"

#define POOL_CACHE_FRESH_S 900 /* later a host may be anybody's */

struct pool_cache_host {
    char id[JOB_ID_SIZE], owner[JOB_NAME_SIZE], nonce[JOB_NONCE_SIZE];
    char url[512];
    unsigned capacity, live;
    int64_t updated_s; /* since 1970 */
};

struct pool_cache {
    char pool[LABEL_MAX + 1], image[512], flavor[64],
        hub_namespace[JOB_NAME_SIZE]; /* namespace "" = none was given */
    unsigned per_host, max_hosts;     /* max_hosts 0 = no ceiling */
    int64_t idle_s;                   /* -1 = none */
    struct pool_cache_host *hosts;
    size_t count;
};
void pool_cache_free(struct pool_cache *cache); /* what it holds */

/* The pool's file; NULL: there is no place for it. The caller's. */
char *pool_cache_path(const char *hub_url, const char *hub_token, const char *hub_namespace,
                      const char *pool);

/* Pure. False: it is no such file, or another pool's. */
bool pool_cache_parse(struct pool_cache *out, const char *text, size_t len, const char *pool);
bool pool_cache_text(struct buf *out, const struct pool_cache *cache, int64_t now_s);
/* Adds those of `from`, which replace their former selves, and drops the dead ones and those that nobody has
 * seen for a day. */
bool pool_cache_merge(struct pool_cache *into, const struct pool_cache *from, const char *const *dead,
                      size_t dead_count, int64_t now_s);

bool pool_cache_read(struct pool_cache *out, const char *path,
                     const char *pool); /* false: none that is of use */
enum pool_cache_written { POOL_CACHE_WRITTEN, POOL_CACHE_BUSY, POOL_CACHE_FAILED };
/* Whole or not at all, merged with what is there. BUSY: another one writes just now. */
enum pool_cache_written pool_cache_write(const char *path, const struct pool_cache *cache,
                                         const char *const *dead, size_t dead_count);

/* The boot lock of this computer for a pool, beside the file: a descriptor, or -1 with *busy, or -1: there
 * can be none. */
int pool_cache_lock(const char *path, bool *busy);
void pool_cache_unlock(int fd);
/* The pool is over: removes its files, unless another program is at them just now. */
void pool_cache_forget(const char *path);

#endif
