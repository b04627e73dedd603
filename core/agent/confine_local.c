/* The steps of a sandbox on this computer. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/binds.h"
#include "agent/confine.h"
#include "agent/keeper.h"
#include "agent/landlock.h"
#include "agent/limits.h"
#include "agent/namespaces.h"
#include "agent/privileges.h"
#include "agent/root.h"
#include "agent/seccomp.h"
#include "util/testing.h"
#include "util/text.h"
#include "wire/limits.h"
#include "wire/names.h"

#define AT_FULL     (1U << CONFINE_FULL)
#define AT_LANDLOCK (1U << CONFINE_LANDLOCK)
#define AT_NONE     CONFINE_AT_NONE
#define AT_ALL      (AT_FULL | AT_LANDLOCK | AT_NONE)

static char home[LIMIT_PATH], tmp[LIMIT_PATH];
static bool own_user; /* the caller's: there is no change of uid */

static bool apply_life(const struct confine_config *c, struct confine_error *e) {
    (void)c;
    return keeper_bind() || confine_fail(e, "life", ESRCH, "", "the keeper has ended");
}

static bool apply_identity(const struct confine_config *c, struct confine_error *e) {
    if (!(c->level == CONFINE_FULL ? binds_open(c, e) : binds_same(c, e))) return false;
    own_user = c->level != CONFINE_FULL && namespaces_outside() == geteuid();
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
    text_format(home, sizeof home, "%s/" LOCAL_HOME, c->dir);
    text_format(tmp, sizeof tmp, "%s/" LOCAL_HOME "/.tmp", c->dir);
    if ((mkdir(home, 0700) != 0 && errno != EEXIST) || (mkdir(tmp, 0700) != 0 && errno != EEXIST) ||
        (owner != geteuid() &&
         (chown(tmp, owner, owner) != 0 || chown(home, owner, owner) != 0 || chmod(c->dir, 0711) != 0)))
        return confine_fail(e, "directory", errno, "", "making %.150s: %s", home, strerror(errno));
    return true;
}

static bool apply_landlock(const struct confine_config *c, struct confine_error *e) {
    return landlock_apply(c, home, tmp, e);
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
static const struct confine_step steps[] = {
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
     CONFINE_WITH_HOST_NETWORK},
    {"capabilities", "none, and none to be had", privileges_drop, AT_FULL | AT_LANDLOCK, AT_ALL},
    {"agent-memory", CONFINE_HIDE_DETAIL, privileges_hide, AT_ALL, AT_FULL | AT_LANDLOCK},
    {"seccomp", "dangerous system calls are refused", apply_seccomp, AT_FULL | AT_LANDLOCK, AT_ALL},
};
_Static_assert(sizeof steps / sizeof *steps <= CONFINE_STEPS, "room for every step");

static const char *detail(const struct confine_step *step) {
    if (step->apply == apply_life && agent.detached)
        return "the sandbox ends with its keeper, which outlives the client";
    if (step->apply == apply_identity && own_user) return "the user who started it, without a change of uid";
    return NULL;
}

static const struct confine_table table = {steps, sizeof steps / sizeof *steps, limits_child, detail};

bool confine_apply(const struct confine_config *c, struct confine_error *e) {
    limits_choose(c);
    if (!confine_run(&table, c, e)) return false;
    if (c->level == CONFINE_FULL)
        confine_places(ROOT_HOME, "/tmp");
    else if (home[0] != '\0')
        confine_places(home, tmp);
    return true;
}
