#include "agent/tenant.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/confine_host.h"
#include "agent/tenant_home.h"
#include "agent/tenant_output.h"
#include "util/buf.h"
#include "util/clock.h"
#include "util/testing.h"
#include "util/text.h"
#include "util/whole.h"
#include "wire/limits.h"

#define BUCKETS 256

static struct {
    size_t capacity, count;
    uid_t first_uid, last_uid, next_uid;
    unsigned char *uids; /* in use */
    int64_t last_end;
    struct tenant *first, *last;
    struct tenant *by_id[BUCKETS];
} host;

bool tenants_init(const char *directory, uid_t first, uid_t last, size_t capacity) {
    size_t users = last - first + 1;
    host.capacity = capacity < users ? capacity : users;
    host.first_uid = host.next_uid = first;
    host.last_uid = last;
    host.uids = calloc(users, 1);
    return host.uids != NULL && tenant_home_init(directory);
}

size_t tenants_count(void) {
    return host.count;
}

void tenants_close(void) {
    host.capacity = 0;
}

size_t tenants_capacity(void) {
    return host.capacity;
}

int64_t tenants_last_end(void) {
    return host.last_end;
}

bool tenants_own(uid_t uid) {
    return uid >= host.first_uid && uid <= host.last_uid;
}

struct tenant *tenants_first(void) {
    return host.first;
}

/* Ids are random, so their digits are a hash. */
static struct tenant **bucket_of(const char *id) {
    unsigned hash = 0;
    for (int i = 0; i < 4; i++)
        hash = hash * 31 + (unsigned char)id[i];
    return &host.by_id[hash % BUCKETS];
}

struct tenant *tenant_find(const char *id, size_t len) {
    if (len != TENANT_ID) return NULL;
    for (struct tenant *t = *bucket_of(id); t != NULL; t = t->next_id)
        if (memcmp(t->id, id, TENANT_ID) == 0) return t->state == TENANT_LIVE ? t : NULL;
    return NULL;
}

/* The one that was free for longest: what a former user left behind, a connection that lingers in the kernel
 * for one, has the most time to go. */
static uid_t take_uid(void) {
    uid_t span = host.last_uid - host.first_uid + 1;
    for (uid_t i = 0; i < span; i++) {
        uid_t uid = host.first_uid + (host.next_uid - host.first_uid + i) % span;
        if (host.uids[uid - host.first_uid]) continue;
        host.uids[uid - host.first_uid] = 1;
        host.next_uid = host.first_uid + (uid - host.first_uid + 1) % span;
        return uid;
    }
    return 0;
}

/* ---- Its environment: what the sandbox gives, then what was asked for, which wins. */

static char *item(const char *name, const char *value, const char *rest) {
    struct buf text = BUF_INIT(3 * LIMIT_PATH);
    buf_printf(&text, "%s%s%s", name, value, rest);
    return buf_take(&text);
}

static bool same_name(const char *a, const char *b) {
    size_t len = strcspn(a, "=") + 1;
    return strncmp(a, b, len) == 0;
}

static bool make_env(struct tenant *t, char *const *asked) {
    const char *home = t->home;
    char *own[] = {
        item("PATH=", home, "/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        item("HOME=", home, ""),
        item("TMPDIR=", home, "/.tmp"),
        item("USER=sbx-", t->id, ""),
        item("LOGNAME=sbx-", t->id, ""),
        item("LANG=", "C.UTF-8", ""),
        item("SBX_SANDBOX_ID=", t->id, ""),
        item("SBX_PROXY_DIR=", home, "/.sbx/proxy"),
    };
    const size_t count = sizeof own / sizeof *own;
    size_t more = 0, n = 0;
    while (asked[more] != NULL)
        more++;
    bool ok = (t->sandbox.env = calloc(count + more + 1, sizeof *t->sandbox.env)) != NULL;
    for (size_t i = 0; i < count; i++) {
        bool wanted = ok && own[i] != NULL;
        if (own[i] == NULL) ok = false;
        for (size_t k = 0; wanted && k < more; k++)
            if (same_name(own[i], asked[k])) wanted = false;
        if (wanted)
            t->sandbox.env[n++] = own[i];
        else
            free(own[i]);
    }
    for (size_t k = 0; ok && k < more; k++)
        ok = (t->sandbox.env[n++] = strdup(asked[k])) != NULL;
    return ok;
}

static void free_env(struct tenant *t) {
    for (char **e = t->sandbox.env; e != NULL && *e != NULL; e++)
        free(*e);
    free(t->sandbox.env);
}

/* ---- Begin and end of the record */

static void destroy(struct tenant *t) {
    if (t->home_fd >= 0) close(t->home_fd);
    if (t->ruleset >= 0) close(t->ruleset);
    keys_free(&t->sandbox.keys);
    free_env(t);
    free(t->home);
    free(t);
}

static bool fill(struct tenant *t, char *const *env) {
    t->home_fd = t->ruleset = -1;
    if (!text_random_hex(TENANT_ID / 2, t->id) || !text_random_hex(TENANT_TOKEN / 2, t->token)) return false;
    t->home = tenant_home_path(t->id);
    t->sandbox.id = t->id;
    t->sandbox.cwd = t->home;
    t->sandbox.tenant = t;
    process_set_init(&t->sandbox.processes);
    t->sandbox.processes.pool.parent->reclaim = testing_off("host-output") ? NULL : tenant_output_reclaim;
    return t->home != NULL && make_env(t, env);
}

struct tenant *tenant_new(char *const *env, const struct limits *limits, int64_t idle_ms, bool *full) {
    *full = host.count >= host.capacity;
    struct tenant *t = *full ? NULL : calloc(1, sizeof *t);
    if (t == NULL) return NULL;
    if (!fill(t, env) || (t->uid = take_uid()) == 0) {
        destroy(t);
        return NULL;
    }
    t->limits = *limits;
    t->idle_ms = idle_ms;
    t->created_ms = t->sandbox.last_activity = loop_now();
    t->created_wall_ms = clock_wall_ms();
    t->next_id = *bucket_of(t->id);
    *bucket_of(t->id) = t;
    if (host.last != NULL)
        host.last->next = t;
    else
        host.first = t;
    host.last = t;
    host.count++;
    return t;
}

int tenant_make_home(struct tenant *t) {
    int error = tenant_home_make(t->id, t->uid, &t->home_fd);
    return error != 0 ? error : confine_host_domain(t->home_fd, &t->ruleset);
}

void tenant_made(struct tenant *t) {
    t->state = TENANT_LIVE;
}

static void unlink_id(struct tenant *t) {
    struct tenant **at = bucket_of(t->id);
    while (*at != t)
        at = &(*at)->next_id;
    *at = t->next_id;
}

void tenant_release(struct tenant *t) {
    struct tenant *before = NULL;
    for (struct tenant *i = host.first; i != t; i = i->next)
        before = i;
    if (before != NULL)
        before->next = t->next;
    else
        host.first = t->next;
    if (host.last == t) host.last = before;
    unlink_id(t);
    host.count--;
    host.last_end = loop_now();
    host.uids[t->uid - host.first_uid] = 0;
    destroy(t);
}

/* ---- Becoming it. Of the calling thread alone, so not through the C library, which would change them all.
 */

static bool set_fs_ids(uid_t uid) {
    syscall(SYS_setfsgid, uid);
    syscall(SYS_setfsuid, uid);
    return (uid_t)syscall(SYS_setfsuid, -1) == uid && (uid_t)syscall(SYS_setfsgid, -1) == uid;
}

bool tenant_become(const struct tenant *t) {
    if (testing_off("files-identity")) return true;
    if (set_fs_ids(t->uid)) return true;
    set_fs_ids(0);
    return false;
}

void tenant_come_back(const struct tenant *t) {
    (void)t;
    set_fs_ids(0);
}

/* 0 = unknown. Numbers are not used again, so the last answer stays true. */
static uid_t user_of(uint64_t n) {
    static uint64_t last;
    static uid_t user;
    if (last == n) return user;
    for (const struct tenant *t = host.first; t != NULL; t = t->next)
        for (const struct process *p = t->sandbox.processes.oldest; p != NULL; p = p->newer) {
            if (p->number + 1 != n) continue;
            last = n;
            return user = t->uid;
        }
    return 0;
}

bool tenant_owns(uint64_t n, pid_t pid) {
    char path[32], text[4096];
    uint64_t uid;
    uid_t user = user_of(n);
    if (user == 0 || testing_off("tree-owner")) return true;
    text_format(path, sizeof path, "/proc/%d/status", (int)pid);
    text[0] = '\0';
    whole_read(AT_FDCWD, path, text, sizeof text);
    const char *at = text_after(text, "\nUid:\t");
    return at == NULL || !text_take(&at, &uid) || uid == user || uid == 0;
}
