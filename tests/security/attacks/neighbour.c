/* What sandboxes of one machine would try on each other and on the agent beyond what reach.c has. */
#define _GNU_SOURCE
#include "attack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static int list_directory(char **arg) {
    DIR *d = opendir(arg[0]);
    int found = 0;
    while (d != NULL && readdir(d) != NULL)
        found++;
    return done(found > 2, arg[0]);
}

static int read_link(char **arg) {
    char text[4096];
    ssize_t n = readlink(arg[0], text, sizeof text);
    if (n > 0) fwrite(text, 1, (size_t)n, stdout);
    return done(n > 0, arg[0]);
}

static int link_file(char **arg) {
    int ok = link(arg[0], arg[1]) == 0;
    if (ok) unlink(arg[1]);
    return done(ok, "link");
}

static int may_signal(char **arg) {
    return done(kill(atoi(arg[0]), 0) == 0, "kill");
}

/* The first mapping's first byte, through the file that shows the memory. */
static long first_mapping(const char *pid) {
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%s/maps", pid);
    FILE *maps = fopen(path, "r");
    long at = maps != NULL && fgets(line, sizeof line, maps) != NULL ? strtol(line, NULL, 16) : -1;
    if (maps != NULL) fclose(maps);
    return at;
}

static int open_memory(char **arg) {
    char path[64], byte;
    long at = first_mapping(arg[0]);
    snprintf(path, sizeof path, "/proc/%s/mem", arg[0]);
    int fd = at < 0 ? -1 : open(path, O_RDONLY);
    return done(fd >= 0 && pread(fd, &byte, 1, at) == 1, path);
}

static int make_queue(char **arg) {
    (void)arg;
    long fd = syscall(SYS_mq_open, "sbx-test-queue", O_CREAT | O_RDWR, 0600, NULL);
    if (fd >= 0) syscall(SYS_mq_unlink, "sbx-test-queue");
    return done(fd >= 0, "mq_open");
}

static int load_program(char **arg) {
    char map[128] = {1, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 1}; /* a hash of one word by one word */
    (void)arg;
    return done(syscall(SYS_bpf, 0, map, 72) >= 0, "bpf");
}

static int count_events(char **arg) {
    unsigned char attributes[112] = {1, 0, 0, 0, 112}; /* a software event */
    (void)arg;
    return done(syscall(SYS_perf_event_open, attributes, 0, -1, -1, 0) >= 0, "perf_event_open");
}

static int listen_tcp(char **arg) {
    struct sockaddr_in at = {.sin_family = AF_INET};
    (void)arg;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return done(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 1) == 0, "listen");
}

/* Whether a process has the caller's user and still the program of the agent, whose threads are all called
   by one name. */
static int is_between(const char *pid, const char *name) {
    char path[64], text[4096] = "", wanted[64], uid[64];
    snprintf(path, sizeof path, "/proc/%s/status", pid);
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    if (n <= 0) return 0;
    snprintf(wanted, sizeof wanted, "Name:\t%.15s\n", name);
    snprintf(uid, sizeof uid, "Uid:\t%u\t", (unsigned)getuid());
    return strncmp(text, wanted, strlen(wanted)) == 0 && strstr(text, uid) != NULL;
}

static int grab(const char *pid) {
    char byte, path[64];
    int number = atoi(pid), got = 0;
    long at = first_mapping(pid);
    struct iovec to = {&byte, 1}, from = {(void *)at, 1};
    if (at > 0) got++;
    if (at > 0 && process_vm_readv(number, &to, 1, &from, 1, 0) == 1) got++;
    snprintf(path, sizeof path, "/proc/%s/mem", pid);
    int fd = open(path, O_RDONLY);
    if (fd >= 0) got++, close(fd);
    snprintf(path, sizeof path, "/proc/%s/environ", pid);
    fd = open(path, O_RDONLY);
    if (fd >= 0) got++, close(fd);
    int pidfd = (int)syscall(434 /* pidfd_open */, number, 0);
    fd = (int)syscall(438 /* pidfd_getfd */, pidfd, 1, 0);
    if (fd >= 0) got++, close(fd);
    if (pidfd >= 0) close(pidfd);
    if (ptrace(PTRACE_SEIZE, number, NULL, NULL) == 0) got++, ptrace(PTRACE_DETACH, number, NULL, NULL);
    return got;
}

/* Lies in wait for the agent's children, which have this user already and still share the agent's memory:
   NAME of the agent's program, SECONDS. Says how many it has met. */
static int between(char **arg) {
    int met = 0, got = 0;
    time_t end = time(NULL) + atoi(arg[1]);
    while (time(NULL) < end && got == 0) {
        DIR *d = opendir("/proc");
        for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
            if (e->d_name[0] < '1' || e->d_name[0] > '9' || !is_between(e->d_name, arg[0])) continue;
            int some = grab(e->d_name);
            if (!is_between(e->d_name, arg[0])) continue; /* it may have been another program by then */
            met++;
            got += some;
        }
        if (d != NULL) closedir(d);
    }
    printf("met %d\n", met);
    errno = EPERM;
    return done(got > 0, "a child before its exec");
}

/* Renames a file to and fro for SECONDS: whoever resolves ".." at that time has to look again. */
static int rename_storm(char **arg) {
    time_t end = time(NULL) + atoi(arg[0]);
    int fd = open("storm-a", O_WRONLY | O_CREAT, 0600);
    while (fd >= 0 && time(NULL) < end)
        for (int i = 0; i < 1000; i++)
            if (rename("storm-a", "storm-b") != 0 || rename("storm-b", "storm-a") != 0)
                return done(0, "rename");
    return done(fd >= 0, "rename");
}

/* Makes NAME a directory and a link to TARGET in turn, as fast as it goes, for SECONDS. */
static int swap(char **arg) {
    time_t end = time(NULL) + atoi(arg[2]);
    char spare[256];
    snprintf(spare, sizeof spare, "%s-link", arg[0]);
    mkdir(arg[0], 0755);
    if (symlink(arg[1], spare) != 0) return done(0, "symlink");
    while (time(NULL) < end)
        for (int i = 0; i < 1000; i++)
            if (syscall(SYS_renameat2, AT_FDCWD, arg[0], AT_FDCWD, spare, 2 /* RENAME_EXCHANGE */) != 0) {
                mkdir(arg[0], 0755); /* the API has removed one of them */
                if (symlink(arg[1], spare) != 0 && errno != EEXIST) return done(0, "symlink");
            }
    return done(1, "swap");
}

/* Stops everybody whom it may stop, for SECONDS. */
static int stop_storm(char **arg) {
    time_t end = time(NULL) + atoi(arg[0]);
    while (time(NULL) < end)
        for (int i = 0; i < 1000; i++)
            kill(-1, SIGSTOP);
    return done(1, "kill");
}

const struct attack attacks_neighbour[] = {
    {"list", list_directory},
    {"read-link", read_link},
    {"link", link_file},
    {"may-signal", may_signal},
    {"open-memory", open_memory},
    {"queue", make_queue},
    {"bpf", load_program},
    {"perf", count_events},
    {"listen", listen_tcp},
    {"between", between},
    {"rename-storm", rename_storm},
    {"swap", swap},
    {"stop-storm", stop_storm},
    {NULL, NULL},
};
