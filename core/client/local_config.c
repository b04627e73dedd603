#include "client/local_config.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

#include "client/error.h"
#include "client/json.h"
#include "wire/limits.h"

#define DEFAULT_PROCESSES  512
#define DEFAULT_MEMORY     (4ULL << 30)
#define DEFAULT_DISK       (1ULL << 30)
#define DEFAULT_OPEN_FILES 4096
#define DEFAULT_IDLE_MS    (10 * 60 * 1000)

static const char *level_of(const sbx_sandbox_options *o) {
    return o->isolation != NULL ? o->isolation : SBX_ISOLATION_FULL;
}

static bool is_full(const sbx_sandbox_options *o) {
    return strcmp(level_of(o), SBX_ISOLATION_FULL) == 0;
}

static bool is_none(const sbx_sandbox_options *o) {
    return strcmp(level_of(o), SBX_ISOLATION_NONE) == 0;
}

int local_config_needs_dir(const sbx_sandbox_options *o) {
    return o->detached || !is_full(o);
}

static sbx_status check_cwd(const sbx_sandbox_options *o, sbx_error *err) {
    if (o->cwd == NULL || (o->cwd[0] == '/' && strlen(o->cwd) < LIMIT_PATH)) return SBX_OK;
    return error_set(err, SBX_ERROR_INVALID,
                     "cwd is '%.200s'; it must be an absolute path of less than %d bytes", o->cwd,
                     LIMIT_PATH);
}

/* An absolute path without ".", ".." and empty parts. */
static bool is_plain_path(const char *path) {
    if (path[0] != '/' || strlen(path) >= LIMIT_PATH) return false;
    for (const char *part = path; part != NULL; part = strchr(part + 1, '/')) {
        size_t len = strcspn(part + 1, "/");
        if (len == 0 || (len == 1 && part[1] == '.') || (len == 2 && part[1] == '.' && part[2] == '.'))
            return false;
    }
    return true;
}

/* Places whose contents the sandbox makes itself. */
static bool is_reserved(const char *target) {
    static const char *const reserved[] = {"/proc", "/dev", "/sys"};
    if (strcmp(target, "/home") == 0) return true; /* the home directory is below it */
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++) {
        size_t len = strlen(reserved[i]);
        if (strncmp(target, reserved[i], len) == 0 && (target[len] == '\0' || target[len] == '/'))
            return true;
    }
    return false;
}

/* What the programs of the sandbox come from: covered, hardly one of them would start. */
static bool is_base(const char *target) {
    static const char *const base[] = {"/usr", "/bin", "/sbin", "/etc"};
    if (strncmp(target, "/lib", 4) == 0 && strchr(target + 4, '/') == NULL) return true;
    for (size_t i = 0; i < sizeof base / sizeof *base; i++)
        if (strcmp(target, base[i]) == 0) return true;
    return false;
}

static sbx_status check_bind(const sbx_sandbox_options *o, size_t index, sbx_error *err) {
    const sbx_bind *b = &o->binds[index];
    const char *source = b->source, *target = b->target != NULL ? b->target : source;
    struct stat st;
    if (stat(source, &st) != 0)
        return error_set(err, errno == ENOENT ? SBX_ERROR_NOT_FOUND : SBX_ERROR_DENIED,
                         "the bind source '%.200s' cannot be used: %s", source, strerror(errno));
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
        return error_set(err, SBX_ERROR_INVALID,
                         "the bind source '%.200s' is neither a directory nor a regular file", source);
    if (!is_plain_path(target))
        return error_set(
            err, SBX_ERROR_INVALID,
            "the bind target '%.200s' must be an absolute path without ., .., double or trailing "
            "slashes, and not the root",
            target);
    if (is_full(o) && is_reserved(target))
        return error_set(err, SBX_ERROR_INVALID,
                         "the bind target '%.200s' is made by the sandbox itself; choose one below /home or "
                         "outside /proc, /dev and /sys",
                         target);
    if (is_full(o) && is_base(target))
        return error_set(
            err, SBX_ERROR_INVALID,
            "the bind target '%.200s' would cover the sandbox's own programs and settings; choose a place "
            "below it, or another one such as /work",
            target);
    if (!is_full(o) && strcmp(source, target) != 0)
        return error_set(err, SBX_ERROR_INVALID,
                         "the bind of '%.200s' to '%.200s' needs isolation full: without a root of its own a "
                         "sandbox sees files "
                         "where they are",
                         source, target);
    for (size_t i = 0; i < index; i++) {
        const char *other = o->binds[i].target != NULL ? o->binds[i].target : o->binds[i].source;
        if (strcmp(other, target) == 0)
            return error_set(err, SBX_ERROR_INVALID, "two binds have the target '%.200s'", target);
    }
    return SBX_OK;
}

static sbx_status check_binds(const sbx_sandbox_options *o, sbx_error *err) {
    if (o->bind_count > LIMIT_BINDS)
        return error_set(err, SBX_ERROR_TOO_LARGE, "%zu binds are asked for; at most %d can be",
                         o->bind_count, LIMIT_BINDS);
    for (size_t i = 0; i < o->bind_count; i++) {
        sbx_status status = check_bind(o, i, err);
        if (status != SBX_OK) return status;
    }
    return SBX_OK;
}

static sbx_status check_env(const sbx_sandbox_options *o, sbx_error *err) {
    size_t count = 0;
    while (o->env != NULL && o->env[count] != NULL)
        count++;
    if (count <= LIMIT_ARGUMENTS) return SBX_OK;
    return error_set(err, SBX_ERROR_TOO_LARGE, "env has more than %d items", LIMIT_ARGUMENTS);
}

static sbx_status check_limit(const char *name, uint64_t value, uint64_t least, uint64_t most,
                              sbx_error *err) {
    if (value == 0 || (value >= least && value <= most)) return SBX_OK;
    return error_set(err, SBX_ERROR_INVALID, "%s is %llu; it may be 0 (the default) or from %llu to %llu",
                     name, (unsigned long long)value, (unsigned long long)least, (unsigned long long)most);
}

sbx_status local_config_check(const sbx_sandbox_options *o, sbx_error *err) {
    sbx_status status = check_cwd(o, err);
    if (status == SBX_OK) status = check_binds(o, err);
    if (status == SBX_OK) status = check_env(o, err);
    /* Below these a shell cannot start; above these the numbers stop meaning anything. */
    if (status == SBX_OK) status = check_limit("limit_processes", o->limit_processes, 4, 1 << 22, err);
    if (status == SBX_OK) status = check_limit("limit_memory", o->limit_memory, 8ULL << 20, 1ULL << 50, err);
    if (status == SBX_OK) status = check_limit("limit_disk", o->limit_disk, 1ULL << 20, 1ULL << 50, err);
    if (status == SBX_OK) status = check_limit("limit_open_files", o->limit_open_files, 16, 1 << 20, err);
    if (status == SBX_OK && o->limit_disk != 0 && !is_full(o))
        return error_set(
            err, SBX_ERROR_UNSUPPORTED,
            "limit_disk is %llu, but isolation %s writes to the host's own disk and cannot limit "
            "it; leave it 0 or choose isolation full",
            (unsigned long long)o->limit_disk, level_of(o));
    if (status == SBX_OK && is_none(o) && o->network != NULL && strcmp(o->network, "none") == 0)
        return error_set(
            err, SBX_ERROR_UNSUPPORTED,
            "network is none, but isolation none leaves commands this computer's network; leave it out or "
            "say host, or choose isolation full or landlock");
    return status;
}

static uint64_t default_memory(void) {
    struct sysinfo info;
    if (sysinfo(&info) != 0) return DEFAULT_MEMORY;
    uint64_t share = (uint64_t)info.totalram * info.mem_unit / 4 * 3;
    return share < DEFAULT_MEMORY ? share : DEFAULT_MEMORY;
}

static uint64_t or_default(uint64_t value, uint64_t otherwise) {
    return value != 0 ? value : otherwise;
}

static void put_member(struct buf *out, const char *name, const char *text) {
    buf_printf(out, "\"%s\":", name);
    json_put_text(out, text);
    buf_putc(out, ',');
}

static void put_idle(struct buf *out, const sbx_sandbox_options *o) {
    int64_t idle = o->idle_timeout_ms;
    if (idle == 0) idle = o->detached ? DEFAULT_IDLE_MS : SBX_NO_TIMEOUT;
    if (idle == SBX_NO_TIMEOUT)
        buf_puts(out, "\"idle_ms\":null,");
    else
        buf_printf(out, "\"idle_ms\":%lld,", (long long)idle);
}

static void put_binds(struct buf *out, const sbx_sandbox_options *o) {
    buf_puts(out, "\"binds\":[");
    for (size_t i = 0; i < o->bind_count; i++) {
        const sbx_bind *b = &o->binds[i];
        buf_puts(out, i > 0 ? ",{" : "{");
        put_member(out, "source", b->source);
        put_member(out, "target", b->target != NULL ? b->target : b->source);
        buf_printf(out, "\"writable\":%s}", b->writable ? "true" : "false");
    }
    buf_puts(out, "],");
}

sbx_status local_config_write(struct buf *out, const struct local_config *c, sbx_error *err) {
    const sbx_sandbox_options *o = c->options;
    buf_putc(out, '{');
    put_member(out, "id", c->id);
    put_member(out, "token", c->token);
    put_member(out, "level", level_of(o));
    put_member(out, "network", o->network != NULL ? o->network : is_none(o) ? "host" : "none");
    put_member(out, "hostname", c->id);
    put_member(out, "dir", c->dir);
    buf_printf(out, "\"detached\":%s,", o->detached ? "true" : "false");
    put_idle(out, o);
    put_binds(out, o);
    if (o->cwd != NULL) put_member(out, "cwd", o->cwd);
    if (o->env != NULL && o->env[0] != NULL) {
        buf_puts(out, "\"env\":");
        json_put_env(out, o->env);
        buf_putc(out, ',');
    }
    buf_printf(out, "\"limits\":{\"processes\":%llu,\"memory\":%llu,\"disk\":%llu,\"open_files\":%llu}}",
               (unsigned long long)or_default(o->limit_processes, DEFAULT_PROCESSES),
               (unsigned long long)or_default(o->limit_memory, default_memory()),
               (unsigned long long)(is_full(o) ? or_default(o->limit_disk, DEFAULT_DISK) : 0),
               (unsigned long long)or_default(o->limit_open_files, DEFAULT_OPEN_FILES));
    if (out->failed)
        return error_set(err, SBX_ERROR_TOO_LARGE,
                         "the environment and binds of the sandbox are larger than %zu bytes together",
                         out->max);
    return SBX_OK;
}
