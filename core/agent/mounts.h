/* The mount calls as the kernel has them (Linux 5.12): no C library that we build with knows all of them. */
#ifndef AGENT_MOUNTS_H
#define AGENT_MOUNTS_H

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The numbers are the same on every architecture that came after them. */
#define MOUNTS_NR_OPEN_TREE  428
#define MOUNTS_NR_MOVE_MOUNT 429
#define MOUNTS_NR_FSOPEN     430
#define MOUNTS_NR_FSCONFIG   431
#define MOUNTS_NR_FSMOUNT    432
#define MOUNTS_NR_SETATTR    442

#define MOUNTS_RDONLY 0x01U
#define MOUNTS_NOSUID 0x02U
#define MOUNTS_NODEV  0x04U
#define MOUNTS_NOEXEC 0x08U
#define MOUNTS_IDMAP  0x00100000U

#define MOUNTS_RECURSIVE  0x8000 /* AT_RECURSIVE */
#define MOUNTS_EMPTY_PATH 0x1000 /* AT_EMPTY_PATH */

struct mounts_attr {
    uint64_t set, clear, propagation, userns_fd;
};

/* A detached copy of the mount at path. */
static inline int mounts_clone(int at, const char *path, bool recursive) {
    unsigned flags = 1U /* OPEN_TREE_CLONE */ | (unsigned)O_CLOEXEC | (recursive ? MOUNTS_RECURSIVE : 0U);
    return (int)syscall(MOUNTS_NR_OPEN_TREE, at, path, flags);
}

static inline int mounts_attach(int mount, int at, const char *path) {
    return (int)syscall(MOUNTS_NR_MOVE_MOUNT, mount, "", at, path, 4U /* MOVE_MOUNT_F_EMPTY_PATH */);
}

static inline int mounts_set(int mount, bool recursive, const struct mounts_attr *attr) {
    unsigned flags = MOUNTS_EMPTY_PATH | (recursive ? MOUNTS_RECURSIVE : 0U);
    return (int)syscall(MOUNTS_NR_SETATTR, mount, "", flags, attr, sizeof *attr);
}

/* A new file system, not attached yet; options are name and value in turn, ended by NULL. */
static inline int mounts_new(const char *type, const char *const *options, unsigned attributes) {
    int context = (int)syscall(MOUNTS_NR_FSOPEN, type, 1U /* FSOPEN_CLOEXEC */);
    if (context < 0) return -1;
    int mount = -1;
    long bad = 0;
    for (size_t i = 0; options != NULL && options[i] != NULL && bad == 0; i += 2)
        bad =
            syscall(MOUNTS_NR_FSCONFIG, context, 1U /* FSCONFIG_SET_STRING */, options[i], options[i + 1], 0);
    if (bad == 0) bad = syscall(MOUNTS_NR_FSCONFIG, context, 6U /* FSCONFIG_CMD_CREATE */, NULL, NULL, 0);
    if (bad == 0) mount = (int)syscall(MOUNTS_NR_FSMOUNT, context, 1U /* FSMOUNT_CLOEXEC */, attributes);
    int error = errno;
    close(context);
    errno = error;
    return mount;
}

#endif
