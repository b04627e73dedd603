#include "agent/root.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/binds.h"
#include "agent/etc.h"
#include "agent/mounts.h"
#include "agent/namespaces.h"
#include "util/scope.h"
#include "util/testing.h"
#include "util/text.h"

#define MS_REC_PRIVATE (0x4000UL | 0x40000UL)
#define DETACH         2
#define INODE_SHARE    4096 /* bytes of the disk limit for each file that may exist */
#define INODES_LEAST   16384

const char *const root_writable[] = {"tmp", "home", "run", "var/tmp", "dev/shm", NULL};

static const char *const systems[] = {"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", NULL};
static const char *const devices[] = {"null", "zero", "full", "random", "urandom", "tty", NULL};
static const char *const directories[] = {
    "usr",  "etc",  "etc/ssl", "etc/pki", "etc/pki/tls", "etc/pki/ca-trust",
    "proc", "sys",  "dev",     "dev/pts", "dev/shm",     "tmp",
    "run",  "home", "var",     "var/tmp", NULL};
static const char *const links[] = {
    "/proc/self/fd", "dev/fd",          "/proc/self/fd/0",   "dev/stdin", "/proc/self/fd/1",
    "dev/stdout",    "/proc/self/fd/2", "dev/stderr",        "pts/ptmx",  "dev/ptmx",
    "../run",        "var/run",         "/proc/self/mounts", "etc/mtab",  NULL};

/* What of /proc could reach the kernel or the host if a permission were wrong there. */
static const char *const proc_readonly[] = {"proc/sys", "proc/irq", "proc/bus", "proc/fs", "proc/acpi", NULL};
static const char *const proc_hidden[] = {
    "proc/kcore",         "proc/keys", "proc/key-users", "proc/timer_list",
    "proc/sysrq-trigger", "proc/kmsg", "proc/kallsyms",  NULL};

const char *const root_etc[] = {
    "ld.so.cache",   "alternatives",           "ssl/certs", "ssl/openssl.cnf", "ca-certificates",
    "pki/tls/certs", "pki/ca-trust/extracted", "services",  "protocols",       NULL};

static bool fail(struct confine_error *e, const char *what) {
    return namespaces_explain(e, "root", errno, what);
}

/* The new file systems, while the host's are still in sight: the kernel gives a /proc only to who sees a
 * whole one. */
static bool make_mounts(uint64_t disk, int *root, int *proc, int *pts, struct confine_error *e) {
    char size[32], inodes[32];
    uint64_t files = disk / INODE_SHARE + INODES_LEAST;
    text_format(size, sizeof size, "%llu", testing_off("disk-limit") ? 0ULL : (unsigned long long)disk);
    if (testing_off("inode-limit")) files = 0; /* none */
    text_format(inodes, sizeof inodes, "%llu", (unsigned long long)files);
    const char *const tmpfs[] = {"size", size, "nr_inodes", inodes, "mode", "0755", NULL};
    const char *const devpts[] = {"ptmxmode", "0666", "mode", "0620", NULL};
    *root = mounts_new("tmpfs", tmpfs, MOUNTS_NOSUID | MOUNTS_NODEV);
    if (*root < 0) return fail(e, "making the root's file system");
    *proc = mounts_new("proc", NULL, MOUNTS_NOSUID | MOUNTS_NODEV | MOUNTS_NOEXEC);
    if (*proc < 0) return namespaces_explain_proc(e, errno);
    *pts = mounts_new("devpts", devpts, MOUNTS_NOSUID | MOUNTS_NOEXEC);
    return *pts >= 0 || fail(e, "making /dev/pts");
}

/* A read-only view of the host's `from` at `to`, which exists. */
static bool view(const char *from, const char *to, unsigned attributes, struct confine_error *e) {
    const struct mounts_attr attr = {.set = attributes};
    cleanup_fd int mount = mounts_clone(AT_FDCWD, from, true);
    if (mount < 0 || mounts_set(mount, true, &attr) != 0 || mounts_attach(mount, AT_FDCWD, to) != 0) {
        char what[128];
        text_format(what, sizeof what, "showing %.80s", from);
        return fail(e, what);
    }
    return true;
}

static bool make_file(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd >= 0) close(fd);
    return fd >= 0;
}

/* /bin is a link into /usr on most systems, a directory on others. */
static bool show_system(const char *path, struct confine_error *e) {
    struct stat st;
    if (lstat(path, &st) != 0) return true;
    if (S_ISLNK(st.st_mode)) {
        char to[256];
        ssize_t n = readlink(path, to, sizeof to - 1);
        if (n < 0) return fail(e, "reading a link of the host's root");
        to[n] = '\0';
        return symlink(to, path + 1) == 0 || fail(e, "making a link");
    }
    if (mkdir(path + 1, 0755) != 0 && errno != EEXIST) return fail(e, "making a directory of the root");
    return view(path, path + 1, MOUNTS_RDONLY | MOUNTS_NOSUID | MOUNTS_NODEV, e);
}

static bool show_etc(const char *name, struct confine_error *e) {
    char host[64];
    struct stat st;
    text_format(host, sizeof host, "/etc/%s", name);
    if (stat(host, &st) != 0) return true;
    bool made = S_ISDIR(st.st_mode) ? mkdir(host + 1, 0755) == 0 : make_file(host + 1);
    if (!made && errno != EEXIST) return fail(e, "making a part of /etc");
    return view(host, host + 1, MOUNTS_RDONLY | MOUNTS_NOSUID | MOUNTS_NODEV | MOUNTS_NOEXEC, e);
}

static bool show_devices(struct confine_error *e) {
    for (size_t i = 0; devices[i] != NULL; i++) {
        char host[32];
        text_format(host, sizeof host, "/dev/%s", devices[i]);
        if (!make_file(host + 1)) return fail(e, "making a place for a device");
        if (!view(host, host + 1, MOUNTS_NOSUID | MOUNTS_NOEXEC, e)) return false;
    }
    return true;
}

static bool mask_proc(struct confine_error *e) {
    struct stat st;
    if (testing_off("proc-masks")) return true;
    for (size_t i = 0; proc_readonly[i] != NULL; i++)
        if (stat(proc_readonly[i], &st) == 0 &&
            !view(proc_readonly[i], proc_readonly[i],
                  MOUNTS_RDONLY | MOUNTS_NOSUID | MOUNTS_NODEV | MOUNTS_NOEXEC, e))
            return false;
    for (size_t i = 0; proc_hidden[i] != NULL; i++)
        if (stat(proc_hidden[i], &st) == 0 &&
            !view("dev/null", proc_hidden[i], MOUNTS_NOSUID | MOUNTS_NOEXEC, e))
            return false;
    return true;
}

static bool make_skeleton(struct confine_error *e) {
    for (size_t i = 0; directories[i] != NULL; i++)
        if (mkdir(directories[i], 0755) != 0) return fail(e, "making a directory of the root");
    for (size_t i = 0; links[i] != NULL; i += 2)
        if (symlink(links[i], links[i + 1]) != 0) return fail(e, "making a link of the root");
    if (mkdir(&ROOT_HOME[1], 0755) != 0 || chmod("tmp", 01777) != 0 || chmod("var/tmp", 01777) != 0 ||
        chmod("dev/shm", 01777) != 0)
        return fail(e, "making the home directory");
    return true;
}

static bool fill(const struct confine_config *c, int proc, int pts, struct confine_error *e) {
    if (!make_skeleton(e) || !etc_write(c, e)) return false;
    for (size_t i = 0; systems[i] != NULL; i++)
        if (!show_system(systems[i], e)) return false;
    for (size_t i = 0; root_etc[i] != NULL; i++)
        if (!show_etc(root_etc[i], e)) return false;
    if (!show_devices(e)) return false;
    if (mounts_attach(pts, AT_FDCWD, "dev/pts") != 0) return fail(e, "mounting /dev/pts");
    if (mounts_attach(proc, AT_FDCWD, "proc") != 0) return fail(e, "mounting /proc");
    if (!mask_proc(e)) return false;
    /* The root itself will be read-only; these parts of it stay writable by being mounts of their own. */
    for (size_t i = 0; root_writable[i] != NULL; i++)
        if (!view(root_writable[i], root_writable[i], MOUNTS_NOSUID | MOUNTS_NODEV, e)) return false;
    return true;
}

/* The old root ends under the new one and is taken away: no name and no descriptor leads to it any more. */
static bool enter(struct confine_error *e) {
    const struct mounts_attr readonly = {.set = testing_off("root-readonly") ? 0U : MOUNTS_RDONLY};
    if (syscall(SYS_pivot_root, ".", ".") != 0) return fail(e, "changing the root");
    if (syscall(SYS_umount2, ".", DETACH) != 0) return fail(e, "leaving the host's root");
    if (chdir("/") != 0) return fail(e, "entering the root");
    cleanup_fd int top = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (top < 0 || mounts_set(top, false, &readonly) != 0) return fail(e, "making the root read-only");
    return true;
}

bool root_build(const struct confine_config *c, uint64_t disk, struct confine_error *e) {
    cleanup_fd int root = -1;
    cleanup_fd int proc = -1;
    cleanup_fd int pts = -1;
    if (syscall(SYS_mount, NULL, "/", NULL, MS_REC_PRIVATE, NULL) != 0)
        return fail(e, "separating the mounts");
    if (testing_off("root")) return true;
    if (!make_mounts(disk, &root, &proc, &pts, e)) return false;
    mode_t mask = umask(0);
    /* It needs a place for a moment; every system has a /proc. */
    if (mounts_attach(root, AT_FDCWD, "/proc") != 0 || fchdir(root) != 0)
        return fail(e, "attaching the root");
    bool ok = fill(c, proc, pts, e) && binds_attach(c, root, e) && enter(e);
    umask(mask);
    return ok;
}
