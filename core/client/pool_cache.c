#include "client/pool_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/json.h"
#include "client/settings.h"
#include "client/signal_guard.h"
#include "util/clock.h"
#include "util/scope.h"
#include "util/sha256.h"
#include "util/testing.h"
#include "util/text.h"
#include "wire/limits.h"

#define VERSION   1
#define FILE_MAX  MIB(1)
#define HOSTS_MAX 1000
#define COUNT_MAX 1000000
#define FORGET_S  86400 /* no host lives longer */

void pool_cache_free(struct pool_cache *cache) {
    free(cache->hosts);
    cache->hosts = NULL;
    cache->count = 0;
}

/* ---- Where */

char *pool_cache_path(const char *hub_url, const char *hub_token, const char *hub_namespace,
                      const char *pool) {
    static const char begin[] = "hfsandbox pool cache 1";
    const char *const parts[] = {begin, hub_url, hub_token, hub_namespace};
    struct sha256 hash;
    uint8_t digest[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1], *path;
    cleanup_free char *home = settings_hf_home();
    if (home == NULL || pool[0] == '.') return NULL;
    sha256_init(&hash);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        sha256_add(&hash, parts[i], strlen(parts[i]) + 1);
    sha256_end(&hash, digest);
    sha256_hex(digest, hex);
    int len = asprintf(&path, "%s/sandbox/pools/%.16s/%s.json", home,
                       testing_off("pool-cache-key") ? "0" : hex, pool);
    return len > 0 ? path : NULL;
}

/* The last three directories of the path are made, private; those above are not ours. */
static bool make_directories(const char *path) {
    cleanup_free char *part = strdup(path);
    if (part == NULL) return false;
    char *ends[4];
    for (int i = 0; i < 4; i++) {
        ends[i] = strrchr(part, '/');
        if (ends[i] == NULL) return false;
        *ends[i] = '\0';
    }
    /* part is $HF_HOME now, which may be missing too. */
    if (mkdir(part, 0700) != 0 && errno != EEXIST) return false;
    for (int i = 3; i > 0; i--) {
        *ends[i] = '/';
        if (mkdir(part, 0700) != 0 && errno != EEXIST) return false;
    }
    return true;
}

/* ---- The text */

static bool take(char *into, size_t room, const char *text, bool may_be_empty) {
    if (text == NULL) text = "";
    if (strlen(text) >= room || (*text == '\0' && !may_be_empty)) return false;
    strcpy(into, text);
    return true;
}

static bool count_of(unsigned *out, const struct json *object, const char *name, int64_t least) {
    int64_t value = json_int(object, name, -1);
    *out = (unsigned)value;
    return value >= least && value <= COUNT_MAX;
}

static bool parse_host(struct pool_cache_host *out, const struct json *item) {
    const char *id = json_string(item, "job_id"), *owner = json_string(item, "owner");
    const char *nonce = json_string(item, "nonce");
    if (!job_id_ok(id) || !job_name_ok(owner) || nonce == NULL) return false;
    if (strspn(nonce, "0123456789abcdefABCDEF") != strlen(nonce)) return false;
    out->updated_s = json_int(item, "updated_at", 0);
    return take(out->id, sizeof out->id, id, false) && take(out->owner, sizeof out->owner, owner, false) &&
           take(out->nonce, sizeof out->nonce, nonce, false) &&
           take(out->url, sizeof out->url, json_string(item, "base_url"), false) &&
           count_of(&out->capacity, item, "capacity", 1) && count_of(&out->live, item, "live", 0);
}

static bool parse_root(struct pool_cache *out, const struct json *root, const char *pool) {
    const struct json *hosts = json_get(root, "hosts"), *most = json_get(root, "max_hosts");
    const struct json *idle = json_get(root, "idle_timeout");
    if (json_int(root, "version", 0) != VERSION || !json_is_array(hosts) || json_count(hosts) > HOSTS_MAX)
        return false;
    bool ok = take(out->pool, sizeof out->pool, json_string(root, "pool_id"), false) &&
              strcmp(out->pool, pool) == 0 &&
              take(out->image, sizeof out->image, json_string(root, "image"), false) &&
              take(out->flavor, sizeof out->flavor, json_string(root, "flavor"), false) &&
              take(out->hub_namespace, sizeof out->hub_namespace, json_string(root, "namespace"), true) &&
              count_of(&out->per_host, root, "sandboxes_per_host", 1);
    if (ok && most != NULL && !json_is_null(most)) ok = count_of(&out->max_hosts, root, "max_hosts", 1);
    out->idle_s = idle != NULL && !json_is_null(idle) ? json_int(root, "idle_timeout", -1) : -1;
    if (!ok || (out->hosts = calloc(json_count(hosts) + 1, sizeof *out->hosts)) == NULL) return false;
    for (const struct json *item = json_first(hosts); ok && item != NULL; item = json_next(item))
        ok = parse_host(&out->hosts[out->count++], item);
    return ok;
}

bool pool_cache_parse(struct pool_cache *out, const char *text, size_t len, const char *pool) {
    *out = (struct pool_cache){.idle_s = -1};
    struct json *root = json_parse(text, len);
    bool ok = parse_root(out, root, pool);
    json_free(root);
    if (!ok) pool_cache_free(out);
    return ok;
}

static void put(struct buf *out, const char *name, const char *text) {
    buf_printf(out, ",\"%s\":", name);
    json_put_text(out, text);
}

bool pool_cache_text(struct buf *out, const struct pool_cache *cache, int64_t now_s) {
    buf_printf(out, "{\"version\":%d", VERSION);
    put(out, "pool_id", cache->pool);
    put(out, "image", cache->image);
    put(out, "flavor", cache->flavor);
    put(out, "namespace", cache->hub_namespace[0] != '\0' ? cache->hub_namespace : NULL);
    buf_printf(out, ",\"sandboxes_per_host\":%u,\"max_hosts\":", cache->per_host);
    buf_printf(out, cache->max_hosts > 0 ? "%u" : "null", cache->max_hosts);
    buf_puts(out, ",\"idle_timeout\":");
    buf_printf(out, cache->idle_s >= 0 ? "%lld" : "null", (long long)cache->idle_s);
    buf_printf(out, ",\"updated_at\":%lld.0,\"hosts\":[", (long long)now_s);
    for (size_t i = 0; i < cache->count; i++) {
        const struct pool_cache_host *h = &cache->hosts[i];
        buf_puts(out, i > 0 ? ",{\"job_id\":" : "{\"job_id\":");
        json_put_text(out, h->id);
        put(out, "owner", h->owner);
        put(out, "base_url", h->url);
        put(out, "nonce", h->nonce);
        buf_printf(out, ",\"capacity\":%u,\"live\":%u,\"updated_at\":%lld.0}", h->capacity, h->live,
                   (long long)h->updated_s);
    }
    buf_puts(out, "]}\n");
    return !out->failed;
}

static bool is_among(const char *id, const char *const *ids, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(ids[i], id) == 0) return true;
    return false;
}

bool pool_cache_merge(struct pool_cache *into, const struct pool_cache *from, const char *const *dead,
                      size_t dead_count, int64_t now_s) {
    struct pool_cache_host *hosts = calloc(into->count + from->count + 1, sizeof *hosts);
    size_t count = 0;
    if (hosts == NULL) return false;
    for (size_t i = 0; i < into->count; i++) {
        bool newer = false;
        for (size_t k = 0; k < from->count; k++)
            newer = newer || strcmp(from->hosts[k].id, into->hosts[i].id) == 0;
        bool forgotten = now_s - into->hosts[i].updated_s > FORGET_S;
        if (!newer && !forgotten && !is_among(into->hosts[i].id, dead, dead_count))
            hosts[count++] = into->hosts[i];
    }
    for (size_t i = 0; i < from->count && count < HOSTS_MAX; i++)
        hosts[count++] = from->hosts[i];
    free(into->hosts);
    *into = *from;
    into->hosts = hosts;
    into->count = count;
    return true;
}

/* ---- The file */

bool pool_cache_read(struct pool_cache *out, const char *path, const char *pool) {
    *out = (struct pool_cache){.idle_s = -1};
    cleanup_fd int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & 022) != 0 || st.st_size <= 0 || (size_t)st.st_size > FILE_MAX)
        return false;
    size_t size = (size_t)st.st_size, len = 0;
    cleanup_free char *text = malloc(size + 1);
    for (ssize_t n; text != NULL && len < size && (n = read(fd, text + len, size - len)) != 0;) {
        if (n < 0 && errno != EINTR) return false;
        if (n > 0) len += (size_t)n;
    }
    if (text == NULL) return false;
    text[len] = '\0';
    return pool_cache_parse(out, text, len, pool);
}

static int open_lock(const char *path, const char *end, bool *busy) {
    char name[LIMIT_PATH];
    *busy = false;
    int len = snprintf(name, sizeof name, "%s%s", path, end);
    if (len < 0 || (size_t)len >= sizeof name || !make_directories(path)) return -1;
    int fd = open(name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return -1;
    struct stat st;
    bool taken = flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (taken && fstat(fd, &st) == 0 && st.st_nlink > 0) return fd;
    *busy = taken || errno == EWOULDBLOCK; /* taken: of a file that was just removed */
    close(fd);
    return -1;
}

int pool_cache_lock(const char *path, bool *busy) {
    *busy = false;
    return path != NULL ? open_lock(path, ".boot", busy) : -1;
}

void pool_cache_unlock(int fd) {
    if (fd < 0) return;
    flock(fd, LOCK_UN); /* a program that was forked meanwhile may have it open too */
    close(fd);
}

static bool replace(const char *path, const struct pool_cache *cache) {
    char name[LIMIT_PATH], random[17];
    struct buf text = BUF_INIT(FILE_MAX);
    int len = text_random_hex(8, random) ? snprintf(name, sizeof name, "%s.%s.tmp", path, random) : -1;
    bool ok = len > 0 && (size_t)len < sizeof name && pool_cache_text(&text, cache, clock_wall_ms() / 1000);
    int fd = ok ? open(name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600) : -1;
    ok = fd >= 0 && signal_guard_write(fd, text.data, text.len, 0);
    if (fd >= 0 && close(fd) != 0) ok = false;
    ok = ok && rename(name, path) == 0;
    if (!ok && fd >= 0) unlink(name);
    buf_free(&text);
    return ok;
}

enum pool_cache_written pool_cache_write(const char *path, const struct pool_cache *cache,
                                         const char *const *dead, size_t dead_count) {
    struct pool_cache there;
    bool busy;
    int lock = open_lock(path, ".lock", &busy);
    if (lock < 0) return busy ? POOL_CACHE_BUSY : POOL_CACHE_FAILED;
    pool_cache_read(&there, path, cache->pool);
    bool ok =
        pool_cache_merge(&there, cache, dead, dead_count, clock_wall_ms() / 1000) && replace(path, &there);
    pool_cache_free(&there);
    pool_cache_unlock(lock);
    return ok ? POOL_CACHE_WRITTEN : POOL_CACHE_FAILED;
}

void pool_cache_forget(const char *path) {
    static const char *const ends[] = {"", ".lock", ".boot"};
    bool busy;
    int write = open_lock(path, ".lock", &busy), boot = write >= 0 ? open_lock(path, ".boot", &busy) : -1;
    for (size_t i = 0; boot >= 0 && i < sizeof ends / sizeof *ends; i++) {
        char name[LIMIT_PATH];
        int len = snprintf(name, sizeof name, "%s%s", path, ends[i]);
        if (len > 0 && (size_t)len < sizeof name) unlink(name);
    }
    pool_cache_unlock(boot);
    pool_cache_unlock(write);
}
