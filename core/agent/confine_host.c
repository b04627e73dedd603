/* Without namespaces: a user id, a Landlock domain, a system call filter and limits keep the sandboxes of one
   machine apart. What is the same for all is taken on by the agent itself, and inherited. */
#include "agent/confine_host.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent/landlock.h"
#include "agent/peer.h"
#include "agent/privileges.h"
#include "agent/rawcall.h"
#include "agent/seccomp.h"
#include "agent/tenant.h"
#include "util/testing.h"
#include "util/text.h"
#include "util/whole.h"
#include "wire/limits.h"

#define AT_HOST     (1U << CONFINE_HOST)
#define FILE_SIZE   ((uint64_t)8 << 30)
#define CPU_SECONDS ((uint64_t)24 * 3600)
#define NICENESS    5

static int least;
static bool without_landlock;      /* it was asked for, and there is none */
static bool keep_uid, keep_limits; /* tests compare with it */

static bool apply_identity(const struct confine_config *c, struct confine_error *e) {
    (void)c;
    if (geteuid() != 0)
        return confine_fail(e, "identity", EPERM, "run the agent as root",
                            "only root can give each sandbox its own user");
    if (setgroups(0, NULL) != 0)
        return confine_fail(e, "identity", errno, "give the agent CAP_SETGID",
                            "leaving the supplementary groups failed");
    keep_uid = testing_off("host-uid");
    return true;
}

static bool apply_limits(const struct confine_config *c, struct confine_error *e) {
    (void)c;
    (void)e;
    keep_limits = testing_off("host-limits");
    return true;
}

/* A command shares the agent's memory for a moment after it has become the sandbox's user. */
static bool apply_memory(const struct confine_config *c, struct confine_error *e) {
    char text[16];
    struct confine_error ignored;
    text[0] = '\0';
    whole_read(AT_FDCWD, "/proc/sys/fs/suid_dumpable", text, sizeof text);
    if (text[0] == '1')
        return confine_fail(e, "agent-memory", 0, "set sysctl fs.suid_dumpable=0",
                            "with fs.suid_dumpable=1 a sandbox could read the agent's memory");
    privileges_hide(
        c, &ignored); /* sandboxes are no root: what it says of root's capabilities does not concern them */
    return true;
}

static bool apply_landlock(const struct confine_config *c, struct confine_error *e) {
    (void)c;
    int abi = landlock_abi();
    if (abi >= least && abi > 0) return true;
    without_landlock = true;
    return confine_fail(
        e, "landlock", 0,
        "use a newer kernel, lower SBX_MIN_LANDLOCK_ABI, or allow weaker sandboxes with --allow-unconfined",
        "Landlock of version %d here, %d is needed", abi, least);
}

static bool apply_scope(const struct confine_config *c, struct confine_error *e) {
    (void)c;
    if (landlock_abi() >= LANDLOCK_ABI_SCOPE && !testing_off("scope")) return true;
    return confine_fail(e, "scope", 0, "use Linux 6.12 or newer",
                        "abstract sockets of other sandboxes can be reached");
}

static bool apply_seccomp(const struct confine_config *c, struct confine_error *e) {
    (void)c;
    const struct seccomp_options o = {.no_ipc = true, .no_suid = true};
    return seccomp_apply(&o, e);
}

#define NEEDED AT_HOST
static const struct confine_step strict[] = {
    {"identity", "each sandbox has a user of its own, without rights on the machine", apply_identity, AT_HOST,
     NEEDED},
    {"limits", "limits of each command, and on processes of each sandbox", apply_limits, AT_HOST, NEEDED},
    {"keys", "a key ring of its own", privileges_keys, AT_HOST, 0},
    {"no-new-privileges", "set-uid programs give no rights", privileges_no_new, AT_HOST, NEEDED},
    {"landlock", "of the machine's files each sandbox sees the system's and its home; it opens no TCP port",
     apply_landlock, AT_HOST, NEEDED},
    {"scope", "abstract sockets of others are out of reach", apply_scope, AT_HOST, 0},
    {"agent-memory", CONFINE_HIDE_DETAIL, apply_memory, AT_HOST, NEEDED},
    {"agent-port", "sockets of sandboxes cannot speak to the agent", peer_init, AT_HOST, NEEDED},
    {"seccomp", "dangerous system calls are refused", apply_seccomp, AT_HOST, NEEDED},
};
static struct confine_step steps[sizeof strict / sizeof *strict];

/* Between clone and exec. The parent death signal is lost with the change of user, so it comes after. */
RAWCALL_CHILD static long take_limits(const struct tenant *t) {
    const uint64_t processes = t->limits.processes, memory = t->limits.memory;
    const struct {
        int resource;
        uint64_t soft, hard;
    } table[] = {
        {RLIMIT_CORE, 0, 0},
        {RLIMIT_NOFILE, CONFINE_HOST_FILES, CONFINE_HOST_FILES},
        {RLIMIT_FSIZE, FILE_SIZE, FILE_SIZE},
        {RLIMIT_CPU, CPU_SECONDS, CPU_SECONDS},
        {RLIMIT_MEMLOCK, MIB(8), MIB(8)},
        {RLIMIT_MSGQUEUE, 0, 0},
        {RLIMIT_RTPRIO, 0, 0},
        {RLIMIT_NPROC, processes, processes},
        {RLIMIT_DATA, memory, ~(uint64_t)0},
    };
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
        uint64_t pair[2] = {table[i].soft, table[i].hard}, now[2] = {0, 0};
        if ((table[i].resource == RLIMIT_NPROC || table[i].resource == RLIMIT_DATA) && pair[0] == 0) continue;
        if (raw4(SYS_prlimit64, 0, table[i].resource, 0, (long)now) < 0) continue;
        if (pair[1] > now[1]) pair[1] = now[1];
        if (pair[0] > pair[1]) pair[0] = pair[1];
        long error = raw4(SYS_prlimit64, 0, table[i].resource, (long)pair, 0);
        if (error < 0) return error;
    }
    return 0;
}

RAWCALL_CHILD static int child(const struct sandbox *sandbox) {
    const struct tenant *t = sandbox->tenant;
    long error;
    if (!keep_limits && (error = take_limits(t)) < 0) return (int)error;
    raw3(SYS_setpriority, PRIO_PROCESS, 0, NICENESS);
    if (!keep_uid) {
        if ((error = raw3(SYS_setresgid, t->uid, t->uid, t->uid)) < 0) return (int)error;
        if ((error = raw3(SYS_setresuid, t->uid, t->uid, t->uid)) < 0) return (int)error;
    }
    raw3(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0);
    if (t->ruleset >= 0 && (error = raw3(LANDLOCK_NR_RESTRICT, t->ruleset, 0, 0)) < 0) return (int)error;
    return 0;
}

static const struct confine_table table = {steps, sizeof steps / sizeof *steps, child, NULL};

bool confine_host(int least_abi, bool weaker, struct confine_error *e) {
    const struct confine_config c = {.level = CONFINE_HOST};
    least = least_abi;
    for (size_t i = 0; i < sizeof strict / sizeof *strict; i++) {
        steps[i] = strict[i];
        if (weaker && (strict[i].apply == apply_landlock || strict[i].apply == peer_init))
            steps[i].required = 0;
    }
    return confine_run(&table, &c, e);
}

const char *confine_host_name(void) {
    return without_landlock || landlock_abi() == 0 ? "uid-only" : "landlock";
}

int confine_host_domain(int home, int *ruleset) {
    *ruleset = -1;
    if (without_landlock || landlock_abi() == 0) return 0;
    *ruleset = landlock_tenant(home);
    return *ruleset < 0 ? errno : 0;
}
