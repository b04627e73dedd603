/* The ways out: mounts, roots, devices, rights by set-uid, namespaces. */
#define _GNU_SOURCE
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int mount_tmpfs(char **arg) {
    return done(mount("none", arg[0], "tmpfs", 0, NULL) == 0, "mount");
}

static int mount_new_api(char **arg) {
    (void)arg;
    return done(syscall(430 /* fsopen */, "tmpfs", 0) >= 0, "fsopen");
}

static int remount(char **arg) {
    return done(mount(NULL, arg[0], NULL, MS_REMOUNT | MS_BIND, NULL) == 0, "remount writable");
}

static int uncover(char **arg) {
    return done(umount2(arg[0], MNT_DETACH) == 0, "umount");
}

static int change_root(char **arg) {
    return done(chroot(arg[0]) == 0, "chroot");
}

static int make_device(char **arg) {
    int ok = mknod(arg[0], S_IFCHR | 0666, makedev(1, 5)) == 0;
    if (ok) unlink(arg[0]);
    return done(ok, "mknod");
}

static int effective_uid(char **arg) {
    (void)arg;
    errno = EPERM;
    printf("uid %u euid %u\n", (unsigned)getuid(), (unsigned)geteuid());
    return done(geteuid() == 0, "euid 0");
}

static int set_suid(char **arg) {
    int fd = open(arg[0], O_WRONLY | O_CREAT, 0755);
    return done(fd >= 0 && chmod(arg[0], 04755) == 0, "chmod u+s");
}

static int new_user_namespace(char **arg) {
    (void)arg;
    return done(unshare(CLONE_NEWUSER) == 0, "unshare");
}

static int clone_user_namespace(char **arg) {
    (void)arg;
    long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, 0);
    if (pid == 0) _exit(0);
    return done(pid > 0, "clone");
}

static int clone3_user_namespace(char **arg) {
    (void)arg;
    uint64_t args[8] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD, 0, 0, 0};
    long pid = syscall(435, args, sizeof args);
    if (pid == 0) _exit(0);
    return done(pid > 0, "clone3");
}

/* Capabilities over namespaces of its own, and with them a mount. */
static int nested_mount(char **arg) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return done(0, "unshare");
    return mount_tmpfs(arg);
}

static int join_namespace(char **arg) {
    int fd = open(arg[0], O_RDONLY);
    return done(fd >= 0 && setns(fd, 0) == 0, "setns");
}

const struct attack attacks_escape[] = {
    {"mount", mount_tmpfs},
    {"fsopen", mount_new_api},
    {"remount", remount},
    {"umount", uncover},
    {"chroot", change_root},
    {"mknod", make_device},
    {"euid", effective_uid},
    {"suid", set_suid},
    {"unshare", new_user_namespace},
    {"clone", clone_user_namespace},
    {"clone3", clone3_user_namespace},
    {"nested-mount", nested_mount},
    {"setns", join_namespace},
    {NULL, NULL},
};
