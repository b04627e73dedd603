#include "agent/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/binds.h"
#include "agent/escape.h"
#include "agent/keeper.h"
#include "agent/landlock.h"
#include "agent/limits.h"
#include "agent/namespaces.h"
#include "agent/privileges.h"
#include "agent/rawcall.h"
#include "agent/root.h"
#include "agent/seccomp.h"
#include "util/testing.h"
#include "util/text.h"
#include "wire/limits.h"
#include "wire/names.h"

#define AT_FULL           (1U << CONFINE_FULL)
#define AT_LANDLOCK       (1U << CONFINE_LANDLOCK)
#define AT_NONE           (1U << CONFINE_NONE)
#define AT_ALL            (AT_FULL | AT_LANDLOCK | AT_NONE)
#define WITH_HOST_NETWORK 8U /* required there too when the network is the host's */

static struct {
    enum confine_level level;
    bool local;
    char home[LIMIT_PATH], tmp[LIMIT_PATH];
} state;

bool confine_fail(struct confine_error *e, const char *step, int error, const char *remedy,
                  const char *format, ...) {
    va_list args;
    va_start(args, format);
    text_vformat(e->text, sizeof e->text, format, args);
    va_end(args);
    text_format(e->remedy, sizeof e->remedy, "%s", remedy);
    e->step = step;
    e->error = error;
    return false;
}

bool confine_error_json(const struct confine_error *e, struct buf *out) {
    buf_puts(out, "{\"ready\":false,\"step\":");
    escape_string(out, e->step, strlen(e->step));
    buf_puts(out, ",\"error\":");
    escape_string(out, e->text, strlen(e->text));
    buf_printf(out, ",\"errno\":%d,\"remedy\":", e->error);
    escape_string(out, e->remedy, strlen(e->remedy));
    return buf_putc(out, '}');
}

static bool apply_life(const struct confine_config *c, struct confine_error *e) {
    (void)c;
    return keeper_bind() || confine_fail(e, "life", ESRCH, "", "the keeper has ended");
}

static bool apply_identity(const struct confine_config *c, struct confine_error *e) {
    if (!(c->level == CONFINE_FULL ? binds_open(c, e) : binds_same(c, e))) return false;
    if (c->level != CONFINE_FULL) privileges_bound(); /* with its uid root loses the right to do it */
    return namespaces_identity(c, e);
}

static bool apply_root(const struct confine_config *c, struct confine_error *e) {
    return root_build(c, limits_get()->disk, e);
}

/* At level landlock the private directory is all that may be written. It is made while the caller's own
 * rights last. */
static bool apply_directory(const struct confine_config *c, struct confine_error *e) {
    if (c->dir == NULL)
        return c->level == CONFINE_NONE ||
               confine_fail(e, "directory", EINVAL, "give \"dir\"", "this level needs a directory");
    uid_t owner = c->level == CONFINE_LANDLOCK ? namespaces_outside() : geteuid();
    text_format(state.home, sizeof state.home, "%s/" LOCAL_HOME, c->dir);
    text_format(state.tmp, sizeof state.tmp, "%s/" LOCAL_HOME "/.tmp", c->dir);
    if ((mkdir(state.home, 0700) != 0 && errno != EEXIST) ||
        (mkdir(state.tmp, 0700) != 0 && errno != EEXIST) ||
        (owner != geteuid() && (chown(state.tmp, owner, owner) != 0 || chown(state.home, owner, owner) != 0 ||
                                chmod(c->dir, 0711) != 0)))
        return confine_fail(e, "directory", errno, "", "making %.150s: %s", state.home, strerror(errno));
    return true;
}

static bool apply_landlock(const struct confine_config *c, struct confine_error *e) {
    return landlock_apply(c, state.home, state.tmp, e);
}

static bool apply_scope(const struct confine_config *c, struct confine_error *e) {
    (void)c;
    if (landlock_abi() >= LANDLOCK_ABI_SCOPE && !testing_off("scope")) return true;
    return confine_fail(e, "scope", ENOSYS, "use Linux 6.12 or newer, or network none",
                        "abstract sockets and signals cannot be scoped by Landlock here");
}

static bool apply_seccomp(const struct confine_config *c, struct confine_error *e) {
    const struct seccomp_options o = {.shared = c->level == CONFINE_LANDLOCK,
                                      .no_network = c->level == CONFINE_LANDLOCK && !c->host_network,
                                      .no_suid = c->level == CONFINE_LANDLOCK || binds_writable(c)};
    return seccomp_apply(&o, e);
}

static bool apply_limits(const struct confine_config *c, struct confine_error *e) {
    (void)c;
    return limits_prepare(e);
}

/* In this order: names and mounts first, while there are capabilities; what takes rights away comes last. */
static const struct step {
    const char *name, *detail;
    bool (*apply)(const struct confine_config *c, struct confine_error *e);
    unsigned part, required;
} steps[] = {
    {"life", "the sandbox ends with its keeper, and the keeper with its client", apply_life, AT_ALL, AT_ALL},
    {"directory", "a private home directory on the host", apply_directory, AT_LANDLOCK | AT_NONE, AT_ALL},
    {"limits", "limits of each command", apply_limits, AT_ALL, AT_ALL},
    {"keys", "a key ring of its own", privileges_keys, AT_FULL | AT_LANDLOCK, 0},
    {"identity", "one user without rights on the host", apply_identity, AT_FULL | AT_LANDLOCK, AT_ALL},
    {"namespaces", "user, mount, pid, ipc, uts, cgroup, and net unless the network is the host's",
     namespaces_network, AT_FULL, AT_ALL},
    {"root", "an allowlist of the host's files, read-only, and a disk of limited size", apply_root, AT_FULL,
     AT_ALL},
    {"no-new-privileges", "set-uid programs give no rights", privileges_no_new, AT_FULL | AT_LANDLOCK,
     AT_ALL},
    {"landlock", "files outside the allowlist and mounts are refused once more", apply_landlock,
     AT_FULL | AT_LANDLOCK, AT_LANDLOCK},
    {"scope", "abstract sockets and signals of others are out of reach", apply_scope, AT_FULL | AT_LANDLOCK,
     WITH_HOST_NETWORK},
    {"capabilities", "none, and none to be had", privileges_drop, AT_FULL | AT_LANDLOCK, AT_ALL},
    {"agent-memory", "commands can neither read nor trace the agent", privileges_hide, AT_ALL,
     AT_FULL | AT_LANDLOCK},
    {"seccomp", "dangerous system calls are refused", apply_seccomp, AT_FULL | AT_LANDLOCK, AT_ALL},
};
#define STEPS (sizeof steps / sizeof *steps)

static struct {
    bool part, required, holds;
    char why[256]; /* it does not hold */
} rows[STEPS];

static bool run_step(size_t i, const struct confine_config *c, struct confine_error *e) {
    unsigned level = 1U << (c->level);
    rows[i].part = (steps[i].part & level) != 0;
    rows[i].required = (steps[i].required & level) != 0 || ((steps[i].required & WITH_HOST_NETWORK) != 0 &&
                                                            c->host_network && c->level == CONFINE_FULL);
    if (!rows[i].part) return true;
    bool off = testing_off(steps[i].name);
    rows[i].holds = !off && steps[i].apply(c, e);
    if (off || rows[i].holds) return true;
    text_format(rows[i].why, sizeof rows[i].why, "%s", e->text);
    return !rows[i].required;
}

bool confine_apply(const struct confine_config *c, struct confine_error *e) {
    state.level = c->level;
    state.local = true;
    limits_choose(c);
    for (size_t i = 0; i < STEPS; i++)
        if (!run_step(i, c, e)) return false;
    if (c->level == CONFINE_FULL) {
        text_format(state.home, sizeof state.home, "%s", ROOT_HOME);
        text_format(state.tmp, sizeof state.tmp, "/tmp");
    }
    return true;
}

RAWCALL_CHILD int confine_child(void) {
    return state.local ? limits_child() : 0;
}

const char *confine_home(void) {
    return state.home[0] != '\0' ? state.home : NULL;
}

const char *confine_tmp(void) {
    return state.tmp[0] != '\0' ? state.tmp : NULL;
}

void confine_dedicated(void) {
    struct confine_error e;
    for (size_t i = 0; i < STEPS; i++) {
        if (steps[i].apply != privileges_hide) continue;
        rows[i].part = true;
        rows[i].holds = !testing_off(steps[i].name) && privileges_hide(NULL, &e);
        if (!rows[i].holds) text_format(rows[i].why, sizeof rows[i].why, "%s", e.text);
    }
}

bool confine_report(struct buf *out) {
    static const char *const levels[] = {"none", "landlock", "full"};
    const char *comma = "";
    buf_printf(out, "{\"level\":\"%s\",\"steps\":[", levels[state.level]);
    for (size_t i = 0; i < STEPS; i++) {
        if (!rows[i].part) continue;
        const char *detail = rows[i].holds ? steps[i].detail : rows[i].why;
        buf_printf(out, "%s{\"name\":\"%s\",\"holds\":%s,\"required\":%s,\"detail\":", comma, steps[i].name,
                   rows[i].holds ? "true" : "false", rows[i].required ? "true" : "false");
        escape_string(out, detail, strlen(detail));
        buf_putc(out, '}');
        comma = ",";
    }
    return buf_puts(out, "]}");
}

bool confine_report_limits(struct buf *out) {
    const struct limits *l = limits_get();
    return buf_printf(out, "{\"processes\":%llu,\"memory\":%llu,\"disk\":%llu,\"open_files\":%llu}",
                      (unsigned long long)l->processes, (unsigned long long)l->memory,
                      (unsigned long long)l->disk, (unsigned long long)l->open_files);
}
