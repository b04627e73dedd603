#include "job.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/scope.h"

/* Steps name paths of the new root absolutely; here they are relative to the directory it is built in. */
static const char *inside(const char *path) {
    while (*path == '/')
        path++;
    return *path == '\0' ? "." : path;
}

static int make_parents(const char *path) {
    char copy[PATH_MAX];
    if (snprintf(copy, sizeof copy, "%s", inside(path)) >= (int)sizeof copy) {
        errno = ENAMETOOLONG;
        return -1;
    }
    for (char *slash = strchr(copy, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(copy, 0755) != 0 && errno != EEXIST) return -1;
        *slash = '/';
    }
    return 0;
}

static int make_dir(const char *path, mode_t mode) {
    if (make_parents(path) != 0) return -1;
    if (mkdir(inside(path), mode) != 0 && errno != EEXIST) return -1;
    return chmod(inside(path), mode);
}

static int make_file(const char *path) {
    if (make_parents(path) != 0) return -1;
    int fd = open(inside(path), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    return fd < 0 ? -1 : close(fd);
}

static int copy_bytes(int from, int to) {
    char buffer[1 << 16];
    ssize_t n;
    while ((n = read(from, buffer, sizeof buffer)) > 0)
        for (ssize_t done = 0, step; done < n; done += step)
            if ((step = write(to, buffer + done, (size_t)(n - done))) <= 0) return -1;
    return n == 0 ? 0 : -1;
}

/* Of a file, a symbolic link or a tree of them, small enough to recurse: what the test itself has laid out.
 */
static int copy_tree(const char *from, const char *to) {
    struct stat st;
    char text[PATH_MAX];
    if (lstat(from, &st) != 0) return -1;
    if (S_ISLNK(st.st_mode)) {
        ssize_t n = readlink(from, text, sizeof text - 1);
        if (n < 0) return -1;
        text[n] = '\0';
        return symlink(text, inside(to));
    }
    if (!S_ISDIR(st.st_mode)) {
        cleanup_fd int in = open(from, O_RDONLY | O_CLOEXEC);
        cleanup_fd int out =
            in < 0 ? -1 : open(inside(to), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, st.st_mode & 07777);
        return out < 0 ? -1 : copy_bytes(in, out);
    }
    if (make_dir(to, st.st_mode & 07777) != 0) return -1;
    DIR *dir = opendir(from);
    if (dir == NULL) return -1;
    int result = 0;
    for (struct dirent *entry; result == 0 && (entry = readdir(dir)) != NULL;) {
        char below[PATH_MAX];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (snprintf(text, sizeof text, "%s/%s", from, entry->d_name) >= (int)sizeof text ||
            snprintf(below, sizeof below, "%s/%s", to, entry->d_name) >= (int)sizeof below)
            result = -1;
        else
            result = copy_tree(text, below);
    }
    closedir(dir);
    return result;
}

/* A second mount of what is there already. Locked flags of the first one have to be named again when it
 * becomes read-only. */
static int bind_mount(const char *from, const char *to, bool read_only) {
    struct stat st;
    if (stat(from, &st) != 0 || (S_ISDIR(st.st_mode) ? make_dir(to, 0755) : make_file(to)) != 0) return -1;
    if (mount(from, inside(to), NULL, MS_BIND | MS_REC, NULL) != 0) return -1;
    if (!read_only) return 0;
    unsigned long flags = MS_BIND | MS_REMOUNT | MS_RDONLY;
    if (mount(NULL, inside(to), NULL, flags, NULL) == 0) return 0;
    return mount(NULL, inside(to), NULL, flags | MS_NOSUID | MS_NODEV | MS_NOATIME, NULL) == 0 ||
                   mount(NULL, inside(to), NULL, flags | MS_NOSUID | MS_NODEV | MS_RELATIME, NULL) == 0
               ? 0
               : -1;
}

static int mount_devices(void) {
    static const char *const nodes[] = {"/dev/null",   "/dev/zero",    "/dev/full",
                                        "/dev/random", "/dev/urandom", "/dev/tty"};
    static const char *const links[][2] = {{"/proc/self/fd", "dev/fd"},
                                           {"/proc/self/fd/0", "dev/stdin"},
                                           {"/proc/self/fd/1", "dev/stdout"},
                                           {"/proc/self/fd/2", "dev/stderr"},
                                           {"pts/ptmx", "dev/ptmx"}};
    if (make_dir("/dev", 0755) != 0 || mount("tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=755,size=65536k") != 0)
        return -1;
    for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++)
        if (bind_mount(nodes[i], nodes[i], false) != 0) return -1;
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++)
        if (symlink(links[i][0], links[i][1]) != 0) return -1;
    if (make_dir("/dev/pts", 0755) != 0 || mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
                                                 "newinstance,ptmxmode=0666,mode=0620") != 0)
        return -1;
    return make_dir("/dev/shm", 01777) != 0 ||
                   mount("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                         "mode=1777,size=65536k") != 0
               ? -1
               : 0;
}

/* As a container sees it: the machine's own switches read-only, its memory and keys covered. */
static int mount_proc(void) {
    static const char *const covered[] = {"/proc/kcore", "/proc/keys", "/proc/timer_list"};
    static const char *const fixed[] = {"/proc/sys", "/proc/bus", "/proc/fs", "/proc/irq",
                                        "/proc/sysrq-trigger"};
    const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (make_dir("/proc", 0755) != 0 || mount("proc", "proc", "proc", flags, NULL) != 0) return -1;
    for (size_t i = 0; i < sizeof covered / sizeof covered[0]; i++)
        if (access(inside(covered[i]), F_OK) == 0 &&
            mount("dev/null", inside(covered[i]), NULL, MS_BIND, NULL) != 0)
            return -1;
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
        if (access(inside(fixed[i]), F_OK) == 0 &&
            (mount(inside(fixed[i]), inside(fixed[i]), NULL, MS_BIND, NULL) != 0 ||
             mount(NULL, inside(fixed[i]), NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | flags, NULL) != 0))
            return -1;
    /* Not every machine lets a namespace have a /sys of its own. */
    if (make_dir("/sys", 0755) == 0) (void)!mount("sysfs", "sys", "sysfs", flags | MS_RDONLY, NULL);
    return 0;
}

static int step(char *line) {
    char *rest = line;
    const char *verb = job_spec_field(&rest);
    const char *first = job_spec_field(&rest), *second = job_spec_field(&rest),
               *third = job_spec_field(&rest);
    if (strcmp(verb, "dir") == 0) return make_dir(first, (mode_t)strtoul(second, NULL, 8));
    if (strcmp(verb, "copy") == 0) return make_parents(second) != 0 ? -1 : copy_tree(first, second);
    if (strcmp(verb, "bind") == 0) return bind_mount(first, second, strcmp(third, "ro") == 0);
    if (strcmp(verb, "link") == 0) return make_parents(second) != 0 ? -1 : symlink(first, inside(second));
    if (strcmp(verb, "hide") == 0) {
        return access(inside(first), F_OK) != 0 ? 0 : mount("dev/null", inside(first), NULL, MS_BIND, NULL);
    }
    if (strcmp(verb, "tmpfs") == 0) {
        unsigned long flags = MS_NOSUID | MS_NODEV | (strcmp(third, "noexec") == 0 ? MS_NOEXEC : 0);
        return make_dir(first, 0755) != 0 ? -1 : mount("tmpfs", inside(first), "tmpfs", flags, second);
    }
    if (strcmp(verb, "standard") == 0) return mount_devices() != 0 ? -1 : mount_proc();
    errno = EINVAL;
    return -1;
}

const char *job_root_enter(const struct job_spec *spec) {
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return "private mounts";
    if (mount("root", spec->root, "tmpfs", MS_NODEV, "mode=755,size=1g") != 0) return "the root's tmpfs";
    if (chdir(spec->root) != 0) return "the new root";
    umask(0);
    for (size_t i = 0; i < spec->step_count; i++)
        if (step(spec->steps[i]) != 0) return spec->steps[i];
    umask(022);
    if (syscall(SYS_pivot_root, ".", ".") != 0) return "pivot_root";
    if (umount2(".", MNT_DETACH) != 0) return "leaving the old root";
    if (chdir("/") != 0) return "/";
    return spec->workdir != NULL && chdir(spec->workdir) != 0 ? "the working directory" : NULL;
}
