/* Parts of the kernel that a command should not get to see, and detours to those that are filtered. */
#define _GNU_SOURCE
#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* clone through the 32-bit entry of a 64-bit kernel, whose numbers are others. */
static int clone_32bit(char **arg) {
    (void)arg;
#ifdef __x86_64__
    long result = 120;
    long flags = CLONE_NEWUSER | SIGCHLD, none = 0;
    __asm__ volatile("int $0x80"
                     : "+a"(result)
                     : "b"(flags), "c"(none), "d"(none), "S"(none), "D"(none)
                     : "memory");
    if (result == 0) syscall(SYS_exit_group, 0);
    errno = result < 0 ? (int)-result : 0;
    return done(result > 0, "32-bit clone");
#else
    errno = ENOSYS;
    return done(0, "32-bit clone");
#endif
}

static int call_x32(char **arg) {
    (void)arg;
    return done(syscall(0x40000000L | SYS_getpid) > 0, "x32 getpid");
}

/* Types a character into its own terminal, as it would into a shared one. arg: the ioctl's number. */
static int inject(char **arg) {
    char typed = 0;
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0) return done(0, "posix_openpt");
    if (fork() != 0) {
        int status;
        wait(&status);
        return WEXITSTATUS(status);
    }
    setsid();
    int tty = open(ptsname(terminal), O_RDWR);
    ioctl(tty, TIOCSCTTY, 0);
    long bad = syscall(SYS_ioctl, tty, strtoul(arg[0], NULL, 0), "\n");
    int ok = bad == 0 && read(tty, &typed, 1) == 1 && typed == '\n';
    exit(done(ok, "TIOCSTI"));
}

static int make_socket(char **arg) {
    return done(socket(atoi(arg[0]), SOCK_STREAM, 0) >= 0, "socket");
}

/* A message queue and a set of semaphores, gone at once. */
static int make_ipc(char **arg) {
    (void)arg;
    int queue = msgget(IPC_PRIVATE, 0600), set = queue < 0 ? -1 : semget(IPC_PRIVATE, 1, 0600);
    int error = errno;
    if (queue >= 0) msgctl(queue, IPC_RMID, NULL);
    if (set >= 0) semctl(set, 0, IPC_RMID);
    errno = error;
    return done(queue >= 0 && set >= 0, "msgget and semget");
}

static int make_memfd(char **arg) {
    (void)arg;
    return done(memfd_create("x", 0) >= 0, "memfd_create");
}

static int make_aio(char **arg) {
    unsigned long context = 0;
    (void)arg;
    return done(syscall(SYS_io_setup, 1, &context) == 0, "io_setup");
}

static int make_ring(char **arg) {
    char parameters[256] = {0};
    (void)arg;
    return done(syscall(425 /* io_uring_setup */, 4, parameters) >= 0, "io_uring_setup");
}

static int make_faultfd(char **arg) {
    (void)arg;
    return done(syscall(SYS_userfaultfd, 1 /* user mode only */) >= 0, "userfaultfd");
}

static int set_personality(char **arg) {
    return done(syscall(SYS_personality, strtoul(arg[0], NULL, 0)) >= 0, "personality");
}

const struct attack attacks_kernel[] = {
    {"clone-32bit", clone_32bit},
    {"x32", call_x32},
    {"inject", inject},
    {"socket", make_socket},
    {"ipc", make_ipc},
    {"memfd", make_memfd},
    {"aio", make_aio},
    {"io-uring", make_ring},
    {"userfaultfd", make_faultfd},
    {"personality", set_personality},
    {NULL, NULL},
};
