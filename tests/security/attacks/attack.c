/* What a hostile command would try: attack NAME [ARGUMENT...]. Exits 0 when it got what it wanted, 1 when it
   was refused (with the reason on stdout), 2 when it was called wrongly. Linked statically, so that it runs
   in any root. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <arpa/inet.h>
#include <unistd.h>

static int done(int ok, const char *what) {
    if (ok) {
        printf("done: %s\n", what);
    } else {
        printf("refused: %s: %s\n", what, strerror(errno));
    }
    return !ok;
}

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

static int make_memfd(char **arg) {
    (void)arg;
    return done(memfd_create("x", 0) >= 0, "memfd_create");
}

static int make_aio(char **arg) {
    unsigned long context = 0;
    (void)arg;
    return done(syscall(SYS_io_setup, 1, &context) == 0, "io_setup");
}

static int watch_files(char **arg) {
    int made = 0;
    while (made < atoi(arg[0]) && syscall(SYS_inotify_init1, 0) >= 0)
        made++;
    return done(made == atoi(arg[0]), "inotify_init1");
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

static int make_socket(char **arg) {
    return done(socket(atoi(arg[0]), SOCK_STREAM, 0) >= 0, "socket");
}

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

static const struct {
    const char *name;
    int (*run)(char **arg);
} attacks[] = {
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
    {"memfd", make_memfd},
    {"aio", make_aio},
    {"inotify", watch_files},
    {"ipc", make_ipc},
    {"read-key", read_key},
    {"attach-segment", attach_segment},
    {"connect-path", connect_path},
    {"connect-abstract", connect_abstract},
    {"connect-tcp", connect_tcp},
    {"socket", make_socket},
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
    {"clone-32bit", clone_32bit},
    {"x32", call_x32},
    {"inject", inject},
    {"io-uring", make_ring},
    {"userfaultfd", make_faultfd},
    {"personality", set_personality},
    {"forks", forks},
    {"fork-bomb", fork_bomb},
    {"memory", memory},
    {"fill-ipc", fill_ipc},
    {"disk", disk},
    {"empty-files", empty_files},
};

int main(int argc, char **argv) {
    for (size_t i = 0; argc > 1 && i < sizeof attacks / sizeof *attacks; i++) {
        if (strcmp(argv[1], attacks[i].name) != 0) continue;
        int status = attacks[i].run(argv + 2);
        fflush(stdout);
        return status;
    }
    return 2;
}
