/* Taking all of it: processes, memory, disk, what the kernel keeps for a command. */
#define _GNU_SOURCE
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <unistd.h>

static int watch_files(char **arg) {
    int made = 0;
    while (made < atoi(arg[0]) && syscall(SYS_inotify_init1, 0) >= 0)
        made++;
    return done(made == atoi(arg[0]), "inotify_init1");
}

/* N children that sleep; all must live at once. */
static int forks(char **arg) {
    int count = atoi(arg[0]), made = 0;
    for (; made < count; made++) {
        pid_t pid = fork();
        if (pid < 0) break;
        if (pid == 0)
            for (;;)
                pause();
    }
    int error = errno;
    printf("%d children\n", made);
    fflush(stdout);
    if (arg[1] != NULL) sleep((unsigned)atoi(arg[1]));
    signal(SIGTERM, SIG_IGN);
    kill(0, SIGTERM);
    errno = error;
    return done(made == count, "fork");
}

/* As many as there can be, all of which try to become more. */
static int fork_bomb(char **arg) {
    (void)arg;
    for (;;)
        fork();
}

/* N processes, each of which touches MIB of memory of its KIND (private, shared, memfd), and then all wait
 * for input to end. */
static int fill(const char *kind, size_t bytes) {
    char *memory = MAP_FAILED;
    if (strcmp(kind, "memfd") == 0) {
        int fd = memfd_create("x", 0);
        char block[65536];
        memset(block, 1, sizeof block);
        for (size_t n = 0; n < bytes; n += sizeof block)
            if (write(fd, block, sizeof block) != (ssize_t)sizeof block) return -1;
        return 0;
    }
    int flags = MAP_ANONYMOUS | (strcmp(kind, "shared") == 0 ? MAP_SHARED : MAP_PRIVATE);
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (memory == MAP_FAILED) return -1;
    for (size_t n = 0; n < bytes; n += 4096)
        memory[n] = 1;
    return 0;
}

static int memory(char **arg) {
    int count = atoi(arg[1]), failed = 0;
    int ready[2];
    if (pipe(ready) != 0) return 2;
    for (int i = 0; i < count; i++) {
        if (fork() != 0) continue;
        int ok = fill(arg[0], (size_t)atoi(arg[2]) << 20) == 0;
        if (write(ready[1], ok ? "y" : "n", 1) != 1) _exit(1);
        for (;;)
            pause();
    }
    for (int i = 0; i < count; i++) {
        char ok = 0;
        if (read(ready[0], &ok, 1) != 1 || ok != 'y') failed = 1;
    }
    errno = ENOMEM;
    if (!failed && arg[3] != NULL) sleep((unsigned)atoi(arg[3]));
    signal(SIGTERM, SIG_IGN);
    kill(0, SIGTERM);
    return done(!failed, "all the memory");
}

/* COUNT sets of 32000 semaphores, or queues full of empty messages, which must all be there some SECONDS
 * later. */
static int fill_ipc(char **arg) {
    int count = atoi(arg[1]), ids[1024], left = 0, semaphores = strcmp(arg[0], "semaphores") == 0;
    struct msqid_ds about;
    long message = 1;
    for (int i = 0; i < count; i++) {
        ids[i] = semaphores ? semget(IPC_PRIVATE, 32000, 0600) : msgget(IPC_PRIVATE, 0600);
        if (ids[i] < 0) return done(0, "semget or msgget");
        while (!semaphores && msgsnd(ids[i], &message, 0, IPC_NOWAIT) == 0)
            continue;
    }
    sleep((unsigned)atoi(arg[2]));
    for (int i = 0; i < count; i++)
        left += semaphores ? semctl(ids[i], 0, GETVAL) >= 0 : msgctl(ids[i], IPC_STAT, &about) == 0;
    errno = EIDRM;
    return done(left == count, "all of them");
}

/* Writes MIB into a file, or makes COUNT empty files. */
static int disk(char **arg) {
    static char block[1 << 20];
    int fd = open(arg[0], O_WRONLY | O_CREAT | O_TRUNC, 0644);
    for (size_t left = (size_t)atoi(arg[1]) << 20; fd >= 0 && left > 0;) {
        ssize_t n = write(fd, block, left < sizeof block ? left : sizeof block);
        if (n < 0) return done(0, "write");
        left -= (size_t)n;
    }
    return done(fd >= 0, "write");
}

static int empty_files(char **arg) {
    char path[256];
    for (int i = atoi(arg[1]); i > 0; i--) {
        snprintf(path, sizeof path, "%s/%d", arg[0], i);
        int fd = open(path, O_WRONLY | O_CREAT, 0644);
        if (fd < 0) return done(0, "create");
        close(fd);
    }
    return done(1, "create");
}

const struct attack attacks_exhaust[] = {
    {"inotify", watch_files}, {"forks", forks}, {"fork-bomb", fork_bomb},     {"memory", memory},
    {"fill-ipc", fill_ipc},   {"disk", disk},   {"empty-files", empty_files}, {NULL, NULL},
};
