/* What belongs to others: files, processes, keys, shared memory, sockets of the host. */
#define _GNU_SOURCE
#include "attack.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

static int read_file(char **arg) {
    char text[4096];
    int fd = open(arg[0], O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    if (n > 0) fwrite(text, 1, (size_t)n, stdout);
    return done(n > 0, arg[0]);
}

static int write_file(char **arg) {
    int fd = open(arg[0], O_WRONLY | O_CREAT, 0644);
    return done(fd >= 0 && write(fd, "x", 1) == 1, arg[0]);
}

/* Writes to a file what stands in it already: shows the right without changing anything. */
static int rewrite_file(char **arg) {
    char text[256];
    int fd = open(arg[0], O_RDWR);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    return done(n > 0 && pwrite(fd, text, (size_t)n, 0) == n, arg[0]);
}

static int signal_process(char **arg) {
    return done(kill(atoi(arg[0]), SIGUSR1) == 0, "kill");
}

static int trace(char **arg) {
    return done(ptrace(PTRACE_SEIZE, atoi(arg[0]), NULL, NULL) == 0, "PTRACE_SEIZE");
}

static int read_memory(char **arg) {
    char byte;
    struct iovec to = {&byte, 1}, from = {NULL, 1};
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%s/maps", arg[0]);
    FILE *maps = fopen(path, "r");
    if (maps == NULL || fgets(line, sizeof line, maps) == NULL) return done(0, path);
    from.iov_base = (void *)strtoul(line, NULL, 16);
    return done(process_vm_readv(atoi(arg[0]), &to, 1, &from, 1, 0) == 1, "process_vm_readv");
}

static int steal_descriptor(char **arg) {
    int pidfd = (int)syscall(434 /* pidfd_open */, atoi(arg[0]), 0);
    for (int fd = 0; fd < 64; fd++)
        if (syscall(438 /* pidfd_getfd */, pidfd, fd, 0) >= 0) return done(1, "pidfd_getfd");
    return done(0, "pidfd_getfd");
}

/* The next four set what is set already: they show the right without changing anything. */
static int limit_other(char **arg) {
    struct rlimit now;
    pid_t pid = atoi(arg[0]);
    return done(prlimit(pid, RLIMIT_NOFILE, NULL, &now) == 0 && prlimit(pid, RLIMIT_NOFILE, &now, NULL) == 0,
                "prlimit");
}

static int renice(char **arg) {
    id_t pid = (id_t)atoi(arg[0]);
    int now = getpriority(PRIO_PROCESS, pid);
    return done(setpriority(PRIO_PROCESS, pid, now) == 0, "setpriority");
}

static int reschedule(char **arg) {
    struct {
        int priority;
    } none = {0};
    return done(syscall(SYS_sched_setscheduler, atoi(arg[0]), 0 /* SCHED_OTHER */, &none) == 0,
                "sched_setscheduler");
}

static int set_affinity(char **arg) {
    unsigned long set[128];
    pid_t pid = atoi(arg[0]);
    long n = syscall(SYS_sched_getaffinity, pid, sizeof set, set);
    return done(n > 0 && syscall(SYS_sched_setaffinity, pid, n, set) == 0, "sched_setaffinity");
}

/* Likewise of a file. */
static int change_owner(char **arg) {
    struct stat st;
    return done(stat(arg[0], &st) == 0 && chown(arg[0], st.st_uid, st.st_gid) == 0, "chown");
}

static int set_attribute(char **arg) {
    return done(setxattr(arg[0], "user.sbx", "x", 1, 0) == 0, "setxattr");
}

static int read_key(char **arg) {
    char text[64];
    long id = syscall(SYS_keyctl, 10 /* SEARCH */, -3 /* session */, "user", arg[0], 0);
    long n = id < 0 ? -1 : syscall(SYS_keyctl, 11 /* READ */, id, text, sizeof text, 0);
    return done(n > 0, "keyctl");
}

static int attach_segment(char **arg) {
    int id = shmget((key_t)atoi(arg[0]), 0, 0);
    return done(id >= 0 && shmat(id, NULL, SHM_RDONLY) != (void *)-1, "shmget");
}

static int connect_path(char **arg) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    strncpy(to.sun_path, arg[0], sizeof to.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return done(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0, "connect");
}

static int connect_abstract(char **arg) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    strncpy(to.sun_path + 1, arg[0], sizeof to.sun_path - 2);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(arg[0]));
    return done(fd >= 0 && connect(fd, (struct sockaddr *)&to, len) == 0, "connect");
}

static int connect_tcp(char **arg) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arg[0]))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return done(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0, "connect");
}

const struct attack attacks_reach[] = {
    {"read", read_file},
    {"write", write_file},
    {"rewrite", rewrite_file},
    {"signal", signal_process},
    {"trace", trace},
    {"read-memory", read_memory},
    {"steal-descriptor", steal_descriptor},
    {"limit-other", limit_other},
    {"renice", renice},
    {"reschedule", reschedule},
    {"affinity", set_affinity},
    {"change-owner", change_owner},
    {"set-attribute", set_attribute},
    {"read-key", read_key},
    {"attach-segment", attach_segment},
    {"connect-path", connect_path},
    {"connect-abstract", connect_abstract},
    {"connect-tcp", connect_tcp},
    {NULL, NULL},
};
