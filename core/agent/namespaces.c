#include "agent/namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/keeper.h"
#include "agent/privileges.h"
#include "agent/syscalls.h"
#include "util/scope.h"
#include "util/testing.h"
#include "util/text.h"
#include "util/whole.h"
#include "wire/limits.h"

#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif

#ifdef __GLIBC__
#define THREAD_WORDS 256
#else
#define THREAD_WORDS 32
#endif
#define OUTSIDE_FIRST     0x40000000U
#define INOTIFY_INSTANCES "64"
#define WEAKER            "or ask for the weaker level \"landlock\" by name"

/* A file below /proc. -1 when it does not exist here. */
static long setting(const char *name) {
    char text[32], path[LIMIT_PATH];
    text_format(path, sizeof path, "%s/%s", testing_directory("/proc"), name);
    return whole_read(AT_FDCWD, path, text, sizeof text) ? (long)text_number(text) : -1;
}

static bool seccomp_filtered(void) {
    char text[4096], path[LIMIT_PATH];
    text_format(path, sizeof path, "%s/self/status", testing_directory("/proc"));
    whole_read(AT_FDCWD, path, text, sizeof text);
    const char *value = text_after(text, "\nSeccomp:");
    return value != NULL && text_number(value) == 2;
}

static const char *cause(int error) {
    if (setting("sys/user/max_user_namespaces") == 0)
        return "set sysctl user.max_user_namespaces above 0, " WEAKER;
    if (error == ENOSPC || error == EUSERS)
        return "raise sysctl user.max_user_namespaces (or max_mnt_, max_pid_, max_net_namespaces), " WEAKER;
    if (geteuid() != 0 && setting("sys/kernel/unprivileged_userns_clone") == 0)
        return "set sysctl kernel.unprivileged_userns_clone=1, " WEAKER;
    if (setting("sys/kernel/apparmor_restrict_unprivileged_userns") == 1)
        return "give hfsandbox-agent an AppArmor profile with \"userns\", or set sysctl "
               "kernel.apparmor_restrict_unprivileged_userns=0, " WEAKER;
    if (error == ENOSYS || error == EINVAL) return "use Linux 5.14 or newer with user namespaces, " WEAKER;
    if (seccomp_filtered())
        return "the container's seccomp profile forbids it: start the container with --security-opt "
               "seccomp=unconfined (and systempaths=unconfined, apparmor=unconfined), " WEAKER;
    return "a container or chroot forbids it: start it so that user namespaces and mounts are "
           "allowed, " WEAKER;
}

bool namespaces_explain(struct confine_error *e, const char *step, int error, const char *what) {
    return confine_fail(e, step, error, cause(error), "%s: %s", what, strerror(error));
}

bool namespaces_explain_proc(struct confine_error *e, int error) {
    if (error != EPERM || setting("sys/kernel/apparmor_restrict_unprivileged_userns") == 1)
        return namespaces_explain(e, "root", error, "mounting /proc");
    return confine_fail(
        e, "root", error,
        "a container masks parts of /proc: start it with --security-opt systempaths=unconfined, " WEAKER,
        "mounting /proc: %s", strerror(error));
}

/* Root of a container may have few ids; its root is an ordinary user then, seen from outside. */
static bool have_id(const char *map, uint64_t id) {
    char text[4096];
    whole_read(AT_FDCWD, map, text, sizeof text);
    uint64_t first, outside, count;
    for (const char *at = text; text_take(&at, &first) && text_take(&at, &outside) && text_take(&at, &count);)
        if (id >= first && id - first < count) return true;
    return false;
}

uid_t namespaces_outside(void) {
    static uid_t outside = (uid_t)-1;
    if (outside != (uid_t)-1) return outside;
    outside = OUTSIDE_FIRST + 2 * (uid_t)keeper_pid();
    if (geteuid() != 0 || testing_off("uid") || !have_id("/proc/self/uid_map", outside) ||
        !have_id("/proc/self/gid_map", outside))
        outside = geteuid();
    return outside;
}

/* A C library remembers the thread's id, and compares it with those of threads that it starts later; only its
   own fork corrects that, and that makes no namespaces. In the child of a bare clone the id is found by its
   value at the begin of the thread's structure. */
static void correct_tid(pid_t before) {
    volatile pid_t *words = (volatile pid_t *)(uintptr_t)pthread_self(), *found = NULL;
    for (size_t i = 0; i < THREAD_WORDS; i++) {
        if (words[i] != before) continue;
        if (found != NULL) return;
        found = &words[i];
    }
    if (found != NULL) *found = (pid_t)syscall(SYS_gettid);
}

pid_t namespaces_fork(const struct confine_config *c, int *pidfd, struct confine_error *e) {
    unsigned long flags = CLONE_PIDFD | SIGCHLD;
    bool full = c->level == CONFINE_FULL;
    if (full) flags |= CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWCGROUP;
    if (full && !testing_off("pid-namespace")) flags |= CLONE_NEWPID;
    if (full && !testing_off("ipc-namespace")) flags |= CLONE_NEWIPC;
    if (full && !c->host_network && !testing_off("net-namespace")) flags |= CLONE_NEWNET;
    /* The groups of root would stay with the sandbox, as groups that nothing maps. */
    if (full && namespaces_outside() != geteuid() && syscall(SYS_setgroups, 0, NULL) != 0) {
        namespaces_explain(e, "identity", errno, "dropping the groups of root");
        return -1;
    }
    long pid = syscall(SYS_clone, flags, NULL, pidfd, NULL, 0);
    if (pid == 0) correct_tid(keeper_pid());
    if (pid == 0 && testing_off("namespace-rights")) privileges_drop(c, e); /* as AppArmor's rule does */
    if (pid < 0 && full) namespaces_explain(e, "namespaces", errno, "making namespaces");
    if (pid < 0 && !full) confine_fail(e, "life", errno, "", "fork: %s", strerror(errno));
    return (pid_t)pid;
}

static bool write_proc(pid_t pid, const char *name, const char *text) {
    char path[64];
    text_format(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    return whole_put(path, text);
}

bool namespaces_map(pid_t child, struct confine_error *e) {
    char uid[64], gid[64];
    unsigned outside = namespaces_outside();
    text_format(uid, sizeof uid, "%u %u 1", (unsigned)NAMESPACES_UID, outside);
    text_format(gid, sizeof gid, "%u %u 1", (unsigned)NAMESPACES_UID,
                outside != geteuid() ? outside : getegid());
    if (!write_proc(child, "setgroups", "deny") || !write_proc(child, "uid_map", uid) ||
        !write_proc(child, "gid_map", gid))
        return namespaces_explain(e, "identity", errno, "mapping the sandbox's uid");
    return true;
}

static bool become(uid_t id) {
    return syscall(SYS_setresgid, id, id, id) == 0 && syscall(SYS_setresuid, id, id, id) == 0;
}

/* The kernel counts them for the user on the whole host, and gives each 128. It need not be had. */
static void limit_inotify(void) {
    cleanup_fd int fd = open("/proc/sys/user/max_inotify_instances", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || testing_off("inotify-limit")) return;
    ssize_t written = write(fd, INOTIFY_INSTANCES, sizeof INOTIFY_INSTANCES - 1);
    (void)written;
}

bool namespaces_identity(const struct confine_config *c, struct confine_error *e) {
    if (c->level == CONFINE_FULL) {
        if (!become(NAMESPACES_UID))
            return namespaces_explain(e, "identity", errno, "becoming the sandbox's user");
        limit_inotify();
    } else if (namespaces_outside() != geteuid()) {
        uid_t outside = namespaces_outside();
        if (syscall(SYS_setgroups, 0, NULL) != 0 || !become(outside))
            return confine_fail(e, "identity", errno,
                                "run it with CAP_SETUID and CAP_SETGID, or as an ordinary user",
                                "becoming uid %u: %s", (unsigned)outside, strerror(errno));
    }
    /* A change of uid undoes the death signal. */
    if (!keeper_bind()) return confine_fail(e, "identity", ESRCH, "", "the keeper has ended");
    return true;
}

bool namespaces_network(const struct confine_config *c, struct confine_error *e) {
    const char *name = c->hostname != NULL && c->hostname[0] != '\0' ? c->hostname : "sandbox";
    if (sethostname(name, strlen(name)) != 0)
        return namespaces_explain(e, "namespaces", errno, "setting the host name");
    if (c->host_network || testing_off("net-namespace")) return true;
    struct ifreq request;
    memset(&request, 0, sizeof request);
    strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP;
    cleanup_fd int fd = sys_socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) != 0)
        return confine_fail(e, "network", errno, "", "bringing the loopback interface up: %s",
                            strerror(errno));
    return true;
}
