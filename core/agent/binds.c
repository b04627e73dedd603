#include "agent/binds.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/keeper.h"
#include "agent/mounts.h"
#include "agent/namespaces.h"
#include "agent/root.h"
#include "util/scope.h"
#include "util/testing.h"
#include "util/text.h"
#include "util/whole.h"
#include "wire/limits.h"

#define RESOLVE_IN_ROOT 0x10U

static int mounts[LIMIT_BINDS]; /* detached; 0 = not opened yet */

static bool fail(struct confine_error *e, const struct confine_bind *b, int error, const char *remedy,
                 const char *what) {
    return confine_fail(e, "binds", error, remedy, "bind of '%.80s' to '%.80s': %s%s%s", b->source, b->target,
                        what, error != 0 ? ": " : "", error != 0 ? strerror(error) : "");
}

static bool below(const char *path, const char *top) {
    size_t len = strlen(top);
    return strncmp(path, top, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

static bool plain(const char *path) {
    if (path[0] != '/' || path[1] == '\0') return false;
    for (const char *part = path; part != NULL; part = strchr(part + 1, '/')) {
        size_t len = strcspn(part + 1, "/");
        if (len == 0 || (len == 1 && part[1] == '.') || (len == 2 && part[1] == '.' && part[2] == '.'))
            return false;
    }
    return true;
}

static bool check(const struct confine_bind *b, struct confine_error *e) {
    const char *absolute =
        "give an absolute path without '.', '..', double or trailing slashes, and not the root";
    if (b->source == NULL || b->target == NULL || !plain(b->target))
        return fail(e, b, 0, absolute, "the target is no plain absolute path");
    if (b->source[0] != '/') return fail(e, b, 0, "give an absolute path", "the source is no absolute path");
    if (below(b->target, "/proc") || below(b->target, "/dev") || below(b->target, "/sys"))
        return fail(e, b, 0, "choose another target", "nothing may cover /proc, /dev or /sys");
    if (below(ROOT_HOME, b->target) && strcmp(ROOT_HOME, b->target) != 0)
        return fail(e, b, 0, "choose a target below it", "it would cover the home directory " ROOT_HOME);
    return true;
}

bool binds_same(const struct confine_config *c, struct confine_error *e) {
    for (size_t i = 0; i < c->bind_count; i++) {
        const struct confine_bind *b = &c->binds[i];
        struct stat st;
        if (strcmp(b->source, b->target) != 0)
            return fail(e, b, 0, "leave the target out, or use level full", "this level cannot move a path");
        if (stat(b->source, &st) != 0) return fail(e, b, errno, "bind a path that exists", "stat");
    }
    return true;
}

bool binds_writable(const struct confine_config *c) {
    for (size_t i = 0; i < c->bind_count; i++)
        if (c->binds[i].writable) return true;
    return false;
}

/* A user namespace in which `inside` means `outside`; its process ends at once. -1 with errno. */
static int map_namespace(uid_t inside_uid, gid_t inside_gid, uid_t outside) {
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, 0);
    if (pid < 0) return -1;
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == keeper_pid())
            for (;;)
                pause();
        _exit(0);
    }
    char path[64], map[2][64];
    text_format(map[0], sizeof map[0], "%u %u 1", (unsigned)inside_uid, (unsigned)outside);
    text_format(map[1], sizeof map[1], "%u %u 1", (unsigned)inside_gid, (unsigned)outside);
    const char *const names[] = {"uid_map", "gid_map"};
    bool ok = true;
    for (int i = 0; i < 2 && ok; i++) {
        text_format(path, sizeof path, "/proc/%d/%s", (int)pid, names[i]);
        ok = whole_put(path, map[i]);
    }
    text_format(path, sizeof path, "/proc/%d/ns/user", (int)pid);
    int fd = ok ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    int error = errno;
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    errno = error;
    return fd;
}

static bool swap_owner(const struct confine_bind *b, int mount, struct confine_error *e) {
    struct stat st;
    struct statfs fs;
    if (fstat(mount, &st) != 0 || fstatfs(mount, &fs) != 0) return fail(e, b, errno, "", "stat");
    cleanup_fd int map = map_namespace(st.st_uid, st.st_gid, namespaces_outside());
    if (map < 0) return fail(e, b, errno, "run it as an ordinary user", "making a uid mapping");
    const struct mounts_attr attr = {.set = MOUNTS_IDMAP, .userns_fd = (uint64_t)map};
    if (mounts_set(mount, true, &attr) == 0) return true;
    char what[96];
    text_format(what, sizeof what, "its file system (type 0x%lx) cannot map the owner",
                (unsigned long)fs.f_type);
    return fail(e, b, errno,
                "bind it read-only, use a directory on ext4, xfs, btrfs or tmpfs, or run as an ordinary user",
                what);
}

bool binds_prepare(const struct confine_config *c, struct confine_error *e) {
    if (c->bind_count > LIMIT_BINDS)
        return confine_fail(e, "binds", 0, "ask for fewer", "%zu binds; the most is %d", c->bind_count,
                            LIMIT_BINDS);
    for (size_t i = 0; i < c->bind_count; i++)
        if (!check(&c->binds[i], e)) return false;
    if (namespaces_outside() == geteuid()) return true;
    for (size_t i = 0; i < c->bind_count; i++) {
        const struct confine_bind *b = &c->binds[i];
        mounts[i] = mounts_clone(AT_FDCWD, b->source, true);
        if (mounts[i] < 0 && errno == EPERM && !b->writable) {
            mounts[i] = 0; /* root without CAP_SYS_ADMIN: the serving process has it in its own namespaces */
            continue;
        }
        if (mounts[i] < 0)
            return fail(e, b, errno, "bind what exists, with CAP_SYS_ADMIN or as an ordinary user", "open");
        /* Where the owner cannot be swapped it can still be read, as any other user of the host may read it.
         */
        if (!swap_owner(b, mounts[i], e) && b->writable) return false;
    }
    return true;
}

void binds_forget(void) {
    for (size_t i = 0; i < LIMIT_BINDS; i++)
        if (mounts[i] > 0) close(mounts[i]);
}

bool binds_open(const struct confine_config *c, struct confine_error *e) {
    for (size_t i = 0; i < c->bind_count; i++) {
        const struct confine_bind *b = &c->binds[i];
        if (mounts[i] == 0) mounts[i] = mounts_clone(AT_FDCWD, b->source, true);
        /* Not the path's fault: the same call will be refused for the root. */
        if (mounts[i] < 0 && errno == EPERM) return namespaces_explain(e, "binds", errno, "opening binds");
        if (mounts[i] < 0) return fail(e, b, errno, "bind a path that exists and that you may read", "open");
        const struct mounts_attr attr = {.set = MOUNTS_NOSUID | (b->writable ? 0U : MOUNTS_RDONLY) |
                                                (testing_off("bind-nodev") ? 0U : MOUNTS_NODEV)};
        if (mounts_set(mounts[i], true, &attr) != 0) return fail(e, b, errno, "", "setting its attributes");
    }
    return true;
}

static int open_in_root(int root, const char *path, int flags) {
    struct {
        uint64_t flags, mode, resolve;
    } how = {.flags = (uint64_t)(flags | O_CLOEXEC), .mode = 0, .resolve = RESOLVE_IN_ROOT};
    return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

/* Makes the directories above the last part, and that as a directory or an empty file. */
static int make_target(int root, const char *target, bool directory) {
    char path[4096];
    if (strlen(target) >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(path, target);
    for (char *slash = path;;) {
        char *name = slash + 1;
        *slash = '\0';
        cleanup_fd int parent = open_in_root(root, path[0] == '\0' ? "/" : path, O_PATH | O_DIRECTORY);
        *slash = '/';
        if (parent < 0) return -1;
        slash = strchr(name, '/');
        if (slash != NULL) *slash = '\0';
        int bad = slash != NULL || directory ? mkdirat(parent, name, 0755)
                                             : mknodat(parent, name, S_IFREG | 0644, 0);
        if (bad != 0 && errno != EEXIST) return -1;
        if (slash == NULL) return open_in_root(root, target, O_PATH);
        *slash = '/';
    }
}

bool binds_attach(const struct confine_config *c, int root, struct confine_error *e) {
    for (size_t i = 0; i < c->bind_count; i++) {
        const struct confine_bind *b = &c->binds[i];
        struct stat st;
        if (fstat(mounts[i], &st) != 0) return fail(e, b, errno, "", "stat");
        cleanup_fd int target = make_target(root, b->target, S_ISDIR(st.st_mode));
        if (target < 0)
            return fail(e, b, errno,
                        "choose a target that exists, or that lies outside /usr and other read-only parts",
                        "making the target");
        if (syscall(MOUNTS_NR_MOVE_MOUNT, mounts[i], "", target, "", 4U | 0x40U /* both paths empty */) != 0)
            return fail(e, b, errno, "source and target must both be directories, or both files", "mount");
        close(mounts[i]);
        mounts[i] = 0;
    }
    return true;
}
