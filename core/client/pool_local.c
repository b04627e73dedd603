#include "client/pool_local.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/client.h"
#include "client/json.h"
#include "client/local_end.h"
#include "client/local_list.h"
#include "client/local_pool.h"
#include "client/record.h"
#include "util/clock.h"
#include "util/scope.h"
#include "util/testing.h"
#include "util/text.h"
#include "util/whole.h"
#include "wire/limits.h"

#define PREFIX  "pool-"
#define LOCK_MS 3 /* between two tries at the lock */

/* ---- The file: "<sandboxes per host> <hosts>", below its lock */

static sbx_status open_file(int *out, const struct sbx_client *client, const char *name, bool make,
                            sbx_error *err) {
    cleanup_free char *path = NULL;
    char file[LABEL_MAX + sizeof PREFIX];
    cleanup_fd int runtime = record_runtime(&path, client->runtime_dir, err);
    if (runtime < 0) return err->code;
    snprintf(file, sizeof file, PREFIX "%s", name);
    *out = openat(runtime, file, O_RDWR | (make ? O_CREAT : 0) | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (*out >= 0) return SBX_OK;
    if (errno == ENOENT)
        return error_set(err, SBX_ERROR_NOT_FOUND, "there is no pool '%s' on this computer", name);
    return error_system(err, errno, "the file of pool '%s' in %s", name, path);
}

static bool read_size(int fd, unsigned *per_host, unsigned *hosts) {
    char text[64];
    ssize_t len = pread(fd, text, sizeof text - 1, 0);
    if (len <= 0) return false;
    text[len] = '\0';
    return sscanf(text, "%u %u", per_host, hosts) == 2 && *per_host > 0 && *hosts > 0;
}

static bool write_size(int fd, unsigned per_host, unsigned hosts) {
    char text[64];
    int len = snprintf(text, sizeof text, "%u %u\n", per_host, hosts);
    return pwrite(fd, text, (size_t)len, 0) == len && ftruncate(fd, len) == 0;
}

/* The last one that made the pool says how large it is, to all. */
void pool_local_open(struct op *op, struct sbx_pool *pool) {
    sbx_error error;
    cleanup_fd int fd = -1;
    unsigned per_host = pool->per_host, hosts = pool->max_hosts > 0 ? pool->max_hosts : 1;
    if (open_file(&fd, op->client, pool->name, !pool->connected, &error) != SBX_OK) {
        op_failf(op, error.code, "%s: %s", op->name, error.message);
        return;
    }
    if (pool->connected ? !read_size(fd, &per_host, &hosts) : !write_size(fd, per_host, hosts)) {
        op_failf(op, SBX_ERROR_SYSTEM, "%s: the file of pool '%s' cannot be %s: %s", op->name, pool->name,
                 pool->connected ? "read" : "written", strerror(errno));
        return;
    }
    pool->per_host = per_host;
    pool->max_hosts = hosts;
    pool_hold(pool);
    op->out.pool = pool;
    op_done(op, SBX_OK);
}

/* ---- Counting */

struct count {
    const char *pool;
    size_t living;
    sbx_sandbox_list *rows; /* NULL = only counted */
    const struct sbx_client *client;
};

static bool visit(struct local_found *f, int runtime, void *ctx) {
    struct count *c = ctx;
    (void)runtime;
    if (!f->running || strcmp(f->record.pool, c->pool) != 0) return true;
    c->living++;
    sbx_sandbox_info_row row = {.id = f->record.id,
                                .provider = "local",
                                .created_at_ms = f->record.created_at_ms,
                                .pid = f->record.pid,
                                .detached = !local_pool_owns(c->client, f->record.id),
                                .running = 1,
                                .pool = f->record.pool};
    return c->rows == NULL || sandbox_list_add(c->rows, &row);
}

/* ---- Creating: one after the other */

struct entry {
    struct op *op, *making;
    struct sbx_pool *pool; /* held */
    int lock;              /* the file, and its lock */
    struct io_timer timer;
    struct local_pool_options options;
};

static void entry_ended(struct op *op, sbx_status status) {
    struct entry *e = op->ctx;
    struct sbx_pool *pool = e->pool;
    struct op *making = e->making;
    (void)status;
    e->making = NULL;
    op_drop(making);
    io_timer_clear(&op->client->io, &e->timer);
    if (e->lock >= 0) flock(e->lock, LOCK_UN);
    scope_close(&e->lock);
    local_pool_options_free(&e->options);
    free(e);
    pool_release(pool);
}

static void made(void *ctx, sbx_completion *out) {
    struct entry *e = ctx;
    e->making = NULL;
    if (out->status == SBX_OK) {
        e->op->out.sandbox = out->sandbox;
        op_done(e->op, SBX_OK);
    } else {
        op_fail(e->op, &out->error);
    }
}

static void fail(struct entry *e, const sbx_error *error) {
    op_failf(e->op, error->code, "%s: %s", e->op->name, error->message);
}

/* Somebody may have removed the pool, and another one made it anew, while its lock was waited for. */
static bool is_current(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 && st.st_nlink > 0;
}

static void enter(void *ctx) {
    struct entry *e = ctx;
    struct sbx_pool *pool = e->pool;
    sbx_error error;
    if (e->lock >= 0 && !is_current(e->lock)) {
        close(e->lock);
        e->lock = -1;
    }
    if (e->lock < 0 && open_file(&e->lock, pool->client, pool->name, false, &error) != SBX_OK) {
        fail(e, &error);
        return;
    }
    bool free_now = testing_off("local-pool-lock") || flock(e->lock, LOCK_EX | LOCK_NB) == 0;
    if (!free_now || !is_current(e->lock)) {
        if (!io_timer_set(&pool->client->io, &e->timer, clock_ms() + LOCK_MS)) op_fail_memory(e->op);
        return;
    }
    unsigned per_host = pool->per_host, hosts = pool->max_hosts;
    struct count count = {.pool = pool->name, .client = pool->client};
    read_size(e->lock, &per_host, &hosts);
    if (local_walk(pool->client, visit, &count, &error) != SBX_OK) {
        fail(e, &error);
    } else if (count.living >= (size_t)per_host * hosts) {
        op_failf(e->op, SBX_ERROR_BUSY,
                 "%s: pool '%s' is full: it has %zu sandboxes of at most %u; end some, or make it larger",
                 e->op->name, pool->name, count.living, per_host * hosts);
    } else {
        e->making = op_apart(pool->client, e->op->name, SBX_NO_TIMEOUT, made, e);
        if (e->making == NULL) {
            op_fail_memory(e->op);
        } else {
            local_pool_create(e->making, &e->options);
        }
    }
}

void pool_local_place(struct op *op, struct sbx_pool *pool, const sbx_sandbox_options *options) {
    struct entry *e = calloc(1, sizeof *e);
    if (e == NULL || !local_pool_options_copy(&e->options, options, pool->name)) {
        free(e);
        op_fail_memory(op);
        return;
    }
    e->op = op;
    e->pool = pool;
    e->lock = -1;
    e->timer = (struct io_timer){.fire = enter, .ctx = e};
    pool_hold(pool);
    op->ctx = e;
    op->end = entry_ended;
    enter(e);
}

/* ---- Looking and ending */

static bool survey(struct op *op, struct sbx_pool *pool, struct count *count) {
    sbx_error error;
    *count = (struct count){.pool = pool->name, .client = op->client};
    count->rows = sandbox_list_new();
    if (count->rows == NULL) {
        op_fail_memory(op);
        return false;
    }
    if (local_walk(op->client, visit, count, &error) == SBX_OK) return true;
    sbx_sandbox_list_free(count->rows);
    op_failf(op, error.code, "%s: %s", op->name, error.message);
    return false;
}

void pool_local_sandboxes(struct op *op, struct sbx_pool *pool) {
    struct count count;
    if (!survey(op, pool, &count)) return;
    op->out.sandboxes = count.rows;
    op_done(op, SBX_OK);
}

void pool_local_info(struct op *op, struct sbx_pool *pool) {
    struct count count;
    if (!survey(op, pool, &count)) return;
    struct buf out = BUF_INIT(KIB(4));
    int64_t oldest = clock_wall_ms();
    for (size_t i = 0; i < count.living; i++) {
        int64_t created = sbx_sandbox_list_get(count.rows, i)->created_at_ms;
        if (created < oldest) oldest = created;
    }
    buf_puts(&out, "{\"name\":");
    json_put_text(&out, pool->name);
    buf_printf(&out,
               ",\"provider\":\"local\",\"image\":null,\"flavor\":null,\"namespace\":null,\"sandboxes_per_"
               "host\":%u,\"max_hosts\":%u,"
               "\"sandboxes\":%zu,\"hosts\":[{\"id\":\"local\",\"stage\":\"RUNNING\",\"ours\":false,"
               "\"adopted\":true,\"sandboxes\":%zu,"
               "\"capacity\":%u,\"age_ms\":%lld,\"isolation\":\"namespaces\"}]}",
               pool->per_host, pool->max_hosts, count.living, count.living, pool->per_host * pool->max_hosts,
               (long long)(clock_wall_ms() - oldest));
    sbx_sandbox_list_free(count.rows);
    op->out.bytes = out.failed ? NULL : sandbox_bytes(&out);
    buf_free(&out);
    if (op->out.bytes == NULL) {
        op_fail_memory(op);
    } else {
        op_done(op, SBX_OK);
    }
}

static void remove_file(const struct sbx_client *client, const char *name) {
    cleanup_free char *path = NULL;
    char file[LABEL_MAX + sizeof PREFIX];
    cleanup_fd int runtime = record_runtime(&path, client->runtime_dir, NULL);
    snprintf(file, sizeof file, PREFIX "%s", name);
    if (runtime >= 0) unlinkat(runtime, file, 0);
}

/* Without its file nobody makes more; then those that are there end. */
void pool_local_delete(struct op *op, struct sbx_pool *pool) {
    pool->deleted = true;
    remove_file(op->client, pool->name);
    local_end_pool(op, pool->name);
}

/* The last handle of who made it: a pool with nothing in it leaves nothing. */
void pool_local_close(struct sbx_pool *pool) {
    struct count count = {.pool = pool->name, .client = pool->client};
    sbx_error error;
    int fd = -1;
    if (pool->detached || pool->connected || pool->deleted) return;
    if (open_file(&fd, pool->client, pool->name, false, &error) != SBX_OK) return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && is_current(fd) &&
        local_walk(pool->client, visit, &count, &error) == SBX_OK && count.living == 0)
        remove_file(pool->client, pool->name);
    flock(fd, LOCK_UN);
    close(fd);
}

static bool add(sbx_pool_list *list, struct sbx_client *client, const char *name) {
    unsigned per_host = 0, hosts = 0;
    struct count count = {.pool = name, .client = client, .rows = sandbox_list_new()};
    sbx_error error;
    cleanup_fd int fd = -1;
    bool ok = count.rows != NULL && open_file(&fd, client, name, false, &error) == SBX_OK &&
              read_size(fd, &per_host, &hosts) && local_walk(client, visit, &count, &error) == SBX_OK;
    int64_t oldest = 0;
    for (size_t i = 0; ok && i < count.living; i++) {
        int64_t created = sbx_sandbox_list_get(count.rows, i)->created_at_ms;
        if (oldest == 0 || created < oldest) oldest = created;
    }
    sbx_sandbox_list_free(count.rows);
    if (!ok) return count.rows != NULL; /* gone meanwhile */
    sbx_pool_row row = {.name = name,
                        .provider = "local",
                        .hosts = 1,
                        .sandboxes_per_host = per_host * hosts,
                        .created_at_ms = oldest};
    return pool_list_add(list, &row);
}

void pool_local_list(struct op *op) {
    sbx_error error;
    cleanup_free char *path = NULL;
    cleanup_fd int runtime = record_runtime(&path, op->client->runtime_dir, &error);
    DIR *dir = runtime >= 0 ? opendir(path) : NULL;
    if (dir == NULL) {
        op_failf(op, SBX_ERROR_SYSTEM, "%s: the runtime directory cannot be read", op->name);
        return;
    }
    sbx_pool_list *list = pool_list_new();
    bool ok = list != NULL;
    for (struct dirent *e; ok && (e = readdir(dir)) != NULL;)
        if (strncmp(e->d_name, PREFIX, sizeof PREFIX - 1) == 0 &&
            strlen(e->d_name) <= LABEL_MAX + sizeof PREFIX - 1)
            ok = add(list, op->client, e->d_name + sizeof PREFIX - 1);
    closedir(dir);
    if (!ok) {
        sbx_pool_list_free(list);
        op_fail_memory(op);
        return;
    }
    op->out.pools = list;
    op_done(op, SBX_OK);
}
