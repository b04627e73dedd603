/* The system call filter, interpreted here instruction by instruction: what each call with each argument
   gets, on the right architecture and on the wrong ones; and, with a check switched off, that the test would
   see it missing. */
// links: agent/seccomp.c
#include "check.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "agent/seccomp.h"

#ifdef __x86_64__
#define NATIVE AUDIT_ARCH_X86_64
#define OTHER  AUDIT_ARCH_I386
#else
#define NATIVE AUDIT_ARCH_AARCH64
#define OTHER  AUDIT_ARCH_ARM
#endif

#define ALLOW      SECCOMP_RET_ALLOW
#define DENY(code) (SECCOMP_RET_ERRNO | (code))
#define HIGH       0xFFFFFFFF00000000ULL

bool confine_fail(struct confine_error *e, const char *step, int error, const char *remedy,
                  const char *format, ...) {
    (void)e, (void)step, (void)error, (void)remedy, (void)format;
    return false;
}

static struct sock_filter code[SECCOMP_PROGRAM_MAX];
static size_t code_len;

static void build(const struct seccomp_options *o, const char *off) {
    if (off != NULL) {
        setenv("SBX_TEST_OFF", off, 1);
    } else {
        unsetenv("SBX_TEST_OFF");
    }
    code_len = seccomp_build(o, code, SECCOMP_PROGRAM_MAX);
    CHECK(code_len > 0);
}

/* The instructions that the kernel takes in such a program, of which these are used. */
static uint32_t run(const struct seccomp_data *data) {
    uint32_t a = 0;
    for (size_t at = 0; at < code_len; at++) {
        const struct sock_filter *i = &code[at];
        bool jump;
        switch (i->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            CHECK(i->k + 4 <= sizeof *data);
            memcpy(&a, (const char *)data + i->k, 4);
            continue;
        case BPF_ALU | BPF_AND | BPF_K:
            a &= i->k;
            continue;
        case BPF_RET | BPF_K:
            return i->k;
        case BPF_JMP | BPF_JEQ | BPF_K:
            jump = a == i->k;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            jump = a >= i->k;
            break;
        case BPF_JMP | BPF_JSET | BPF_K:
            jump = (a & i->k) != 0;
            break;
        default:
            CHECK(false && "a known instruction");
            return 0;
        }
        at += jump ? i->jt : i->jf;
    }
    CHECK(false && "the program ends with an answer");
    return 0;
}

static uint32_t call(long nr, uint64_t a0, uint64_t a1, uint64_t a2) {
    struct seccomp_data data = {.nr = (int)nr, .arch = NATIVE, .args = {a0, a1, a2}};
    return run(&data);
}

static void architecture(void) {
    struct seccomp_data data = {.nr = SYS_getpid, .arch = OTHER};
    build(&(struct seccomp_options){0}, NULL);
    CHECK_EQ(run(&data), SECCOMP_RET_KILL_PROCESS);
    data.arch = NATIVE;
    CHECK_EQ(run(&data), ALLOW);
    /* On i386 120 is clone: with the numbers of another architecture every other check looks at the wrong
     * call. */
    build(&(struct seccomp_options){0}, "seccomp-arch");
    data = (struct seccomp_data){.nr = 120, .arch = OTHER, .args = {CLONE_NEWUSER}};
    CHECK_EQ(run(&data), ALLOW);
}

static void x32(void) {
#ifdef __x86_64__
    build(&(struct seccomp_options){0}, NULL);
    CHECK_EQ(call(0x40000000 | SYS_mount, 0, 0, 0), DENY(ENOSYS));
    CHECK_EQ(call(0x40000000 | SYS_getpid, 0, 0, 0), DENY(ENOSYS));
    CHECK_EQ(call(-1, 0, 0, 0), DENY(ENOSYS));
    build(&(struct seccomp_options){0}, "seccomp-arch");
    CHECK_EQ(call(0x40000000 | SYS_mount, 0, 0, 0), ALLOW);
#endif
}

static void namespaces(void) {
    static const uint64_t flags[] = {CLONE_NEWNS,  0x02000000 /* cgroup */, CLONE_NEWUTS,
                                     CLONE_NEWIPC, CLONE_NEWUSER,           CLONE_NEWPID,
                                     CLONE_NEWNET};
    build(&(struct seccomp_options){0}, NULL);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        CHECK_EQ(call(SYS_clone, flags[i] | 17, 0, 0), DENY(EPERM));
        CHECK_EQ(call(SYS_clone, flags[i] | HIGH, 0, 0), DENY(EPERM));
        CHECK_EQ(call(SYS_unshare, flags[i], 0, 0), DENY(EPERM));
    }
    CHECK_EQ(call(SYS_unshare, 0x80 /* time */, 0, 0), DENY(EPERM));
    CHECK_EQ(call(SYS_unshare, CLONE_FILES | CLONE_FS, 0, 0), ALLOW);
    CHECK_EQ(call(SYS_clone, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND | CLONE_SETTLS, 0, 0), ALLOW);
    CHECK_EQ(call(SYS_clone, 0x1000 /* pidfd */ | 17, 0, 0), ALLOW);
    CHECK_EQ(call(435 /* clone3 */, 0, 0, 0), DENY(ENOSYS));
    CHECK_EQ(call(SYS_setns, 3, 0, 0), DENY(EPERM));
    build(&(struct seccomp_options){0}, "seccomp-namespaces");
    CHECK_EQ(call(SYS_unshare, CLONE_NEWUSER, 0, 0), ALLOW);
}

static void terminal(void) {
    build(&(struct seccomp_options){0}, NULL);
    CHECK_EQ(call(SYS_ioctl, 0, 0x5412, 0), DENY(EPERM));
    CHECK_EQ(call(SYS_ioctl, 0, 0x541C, 0), DENY(EPERM));
    CHECK_EQ(call(SYS_ioctl, 0, HIGH | 0x5412, 0), DENY(EPERM));
    CHECK_EQ(call(SYS_ioctl, 0, 0x5401 /* TCGETS */, 0), ALLOW);
    build(&(struct seccomp_options){0}, "seccomp-terminal");
    CHECK_EQ(call(SYS_ioctl, 0, 0x5412, 0), ALLOW);
}

static void sockets(void) {
    build(&(struct seccomp_options){0}, NULL);
    CHECK_EQ(call(SYS_socket, AF_UNIX, SOCK_STREAM, 0), ALLOW);
    CHECK_EQ(call(SYS_socket, AF_INET, SOCK_STREAM, 0), ALLOW);
    CHECK_EQ(call(SYS_socket, AF_INET6, SOCK_DGRAM, 17), ALLOW);
    CHECK_EQ(call(SYS_socket, AF_NETLINK, SOCK_RAW, 0), ALLOW);
    CHECK_EQ(call(SYS_socket, AF_NETLINK, SOCK_RAW, 9 /* audit */), DENY(EAFNOSUPPORT));
    CHECK_EQ(call(SYS_socket, HIGH | AF_VSOCK, SOCK_STREAM, 0), DENY(EAFNOSUPPORT));
    CHECK_EQ(call(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0), ALLOW);
    CHECK_EQ(call(SYS_socketpair, 30 /* TIPC */, SOCK_STREAM, 0), DENY(EAFNOSUPPORT));
    for (unsigned family = 0; family < 64; family++) {
        bool fine = family == AF_UNIX || family == AF_INET || family == AF_INET6 || family == AF_NETLINK;
        CHECK_EQ(call(SYS_socket, family, SOCK_STREAM, 0), fine ? ALLOW : DENY(EAFNOSUPPORT));
    }
    build(&(struct seccomp_options){.shared = true, .no_network = true}, NULL);
    for (unsigned family = 0; family < 64; family++)
        CHECK_EQ(call(SYS_socket, family, SOCK_STREAM, 0), DENY(EAFNOSUPPORT));
    CHECK_EQ(call(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0), ALLOW);
    build(&(struct seccomp_options){.shared = true}, NULL);
    CHECK_EQ(call(SYS_socket, AF_UNIX, SOCK_STREAM, 0), DENY(EAFNOSUPPORT));
    CHECK_EQ(call(SYS_socket, AF_INET, SOCK_STREAM, 0), ALLOW);
    CHECK_EQ(call(SYS_socket, AF_NETLINK, SOCK_RAW, 0), ALLOW);
    build(&(struct seccomp_options){0}, "seccomp-sockets");
    CHECK_EQ(call(SYS_socket, AF_VSOCK, SOCK_STREAM, 0), ALLOW);
}

static void files(void) {
    build(&(struct seccomp_options){0}, NULL);
    CHECK_EQ(call(SYS_mknodat, 0, 0, S_IFCHR | 0600), DENY(EPERM));
    CHECK_EQ(call(SYS_mknodat, 0, 0, S_IFBLK | 0600), DENY(EPERM));
    CHECK_EQ(call(SYS_mknodat, 0, 0, S_IFIFO | 0600), ALLOW);
    CHECK_EQ(call(SYS_mknodat, 0, 0, S_IFREG | 0600), ALLOW);
    CHECK_EQ(call(SYS_fchmodat, 0, 0, 04755), ALLOW);
    build(&(struct seccomp_options){0}, "seccomp-mknod");
    CHECK_EQ(call(SYS_mknodat, 0, 0, S_IFCHR | 0600), ALLOW);
    build(&(struct seccomp_options){.no_suid = true}, NULL);
    CHECK_EQ(call(SYS_fchmod, 3, 04755, 0), DENY(EPERM));
    CHECK_EQ(call(SYS_fchmodat, 0, 0, 02755), DENY(EPERM));
    CHECK_EQ(call(452 /* fchmodat2 */, 0, 0, 04755), DENY(EPERM));
    CHECK_EQ(call(SYS_fchmodat, 0, 0, 0755), ALLOW);
    build(&(struct seccomp_options){.no_suid = true}, "seccomp-suid");
    CHECK_EQ(call(SYS_fchmod, 3, 04755, 0), ALLOW);
}

static void calls(void) {
    static const long never[] = {SYS_mount,
                                 SYS_umount2,
                                 SYS_pivot_root,
                                 SYS_chroot,
                                 SYS_bpf,
                                 SYS_keyctl,
                                 SYS_add_key,
                                 SYS_request_key,
                                 SYS_perf_event_open,
                                 SYS_userfaultfd,
                                 SYS_process_vm_readv,
                                 SYS_open_by_handle_at,
                                 SYS_init_module,
                                 SYS_reboot,
                                 SYS_syslog,
                                 425,
                                 426,
                                 427,
                                 428,
                                 429,
                                 442};
    static const long always[] = {SYS_read,   SYS_write, SYS_openat, SYS_execve, SYS_prctl,
                                  SYS_ptrace, SYS_kill,  437,        424,        434};
    build(&(struct seccomp_options){0}, NULL);
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        CHECK_EQ(call(never[i], 0, 0, 0), DENY(EPERM));
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        CHECK_EQ(call(always[i], 0, 0, 0), ALLOW);
    CHECK_EQ(call(SYS_personality, 0xFFFFFFFF, 0, 0), ALLOW);
    CHECK_EQ(call(SYS_personality, 0x0400000 /* READ_IMPLIES_EXEC */, 0, 0), DENY(EPERM));
    build(&(struct seccomp_options){0}, "seccomp-calls");
    CHECK_EQ(call(SYS_mount, 0, 0, 0), ALLOW);
}

static uint32_t call_limits(uint64_t pid, uint64_t new_limits) {
    return call(SYS_prlimit64, pid, RLIMIT_NOFILE, new_limits);
}

static void others(void) {
    build(&(struct seccomp_options){0}, NULL);
    CHECK_EQ(call_limits(0, 0x7fff0000), ALLOW);
    CHECK_EQ(call_limits(0, HIGH), ALLOW);
    CHECK_EQ(call_limits(1, 0), ALLOW);
    CHECK_EQ(call_limits(1, 0x7fff0000), DENY(EPERM));
    CHECK_EQ(call_limits(1, 1ULL << 32), DENY(EPERM));
    CHECK_EQ(call_limits(HIGH | 77, 8), DENY(EPERM));
    CHECK_EQ(call_limits(HIGH, 8), ALLOW); /* the kernel sees 0 */
    static const long by_which[] = {SYS_setpriority, SYS_ioprio_set};
    for (size_t i = 0; i < 2; i++) {
        CHECK_EQ(call(by_which[i], 1, 0, 5), ALLOW);
        CHECK_EQ(call(by_which[i], 1, 7, 5), DENY(EPERM));
    }
    CHECK_EQ(call(SYS_setpriority, PRIO_PROCESS, 0, 5), ALLOW);
    CHECK_EQ(call(SYS_setpriority, HIGH | PRIO_USER, 0, 5), DENY(EPERM));
    CHECK_EQ(call(SYS_ioprio_set, 3, 0, 5), DENY(EPERM));
    static const long by_pid[] = {SYS_sched_setscheduler, SYS_sched_setparam, SYS_sched_setattr};
    for (size_t i = 0; i < 3; i++) {
        CHECK_EQ(call(by_pid[i], 0, 8, 8), ALLOW);
        CHECK_EQ(call(by_pid[i], 1, 8, 8), DENY(EPERM));
    }
    CHECK_EQ(call(SYS_sched_setaffinity, 1, 8, 8), DENY(EPERM));
    CHECK_EQ(call(SYS_sched_setaffinity, 9, 8, 8), ALLOW);
    build(&(struct seccomp_options){.shared = true}, NULL);
    CHECK_EQ(call(SYS_sched_setaffinity, 9, 8, 8), DENY(EPERM));
    CHECK_EQ(call(SYS_sched_setaffinity, 0, 8, 8), ALLOW);
    build(&(struct seccomp_options){.shared = true}, "seccomp-others");
    CHECK_EQ(call_limits(1, 8), ALLOW);
    CHECK_EQ(call(SYS_sched_setaffinity, 9, 8, 8), ALLOW);
}

static void shared(void) {
    build(&(struct seccomp_options){0}, NULL);
    CHECK_EQ(call(SYS_memfd_create, 0, 0, 0), DENY(ENOSYS));
    CHECK_EQ(call(SYS_io_setup, 1, 0, 0), DENY(ENOSYS));
    CHECK_EQ(call(SYS_shmget, 0, 0, 0), ALLOW);
    CHECK_EQ(call(SYS_fchownat, 0, 0, 0), ALLOW);
    build(&(struct seccomp_options){.shared = true}, NULL);
    CHECK_EQ(call(SYS_shmget, 0, 0, 0), DENY(ENOSYS));
    CHECK_EQ(call(SYS_mq_open, 0, 0, 0), DENY(ENOSYS));
    CHECK_EQ(call(SYS_fchownat, 0, 0, 0), DENY(EPERM));
    CHECK_EQ(call(SYS_fsetxattr, 0, 0, 0), DENY(ENOTSUP));
    CHECK_EQ(call(SYS_fchmodat, 0, 0, 0755), ALLOW);
    CHECK_EQ(call(SYS_utimensat, 0, 0, 0), ALLOW);
    build(&(struct seccomp_options){.shared = true}, "seccomp-absent,seccomp-shared");
    CHECK_EQ(call(SYS_memfd_create, 0, 0, 0), ALLOW);
    CHECK_EQ(call(SYS_shmget, 0, 0, 0), ALLOW);
}

static void room(void) {
    struct sock_filter few[8];
    unsetenv("SBX_TEST_OFF");
    CHECK_EQ(seccomp_build(&(struct seccomp_options){0}, few, 8), 0);
}

CHECK_MAIN(architecture, x32, namespaces, terminal, sockets, files, calls, others, shared, room)
