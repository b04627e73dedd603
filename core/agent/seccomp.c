#include "agent/seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/testing.h"

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#define X32_BIT      0x40000000U
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "the system call filter knows x86_64 and aarch64"
#endif

#define NEW_NAMESPACES 0x7E020080U /* every CLONE_NEW flag, NEWTIME included */
#define NEW_BY_CLONE   0x7E020000U /* in clone the bit of NEWTIME belongs to the exit signal */
#define NAME(x)        SYS_##x

/* Calls that C libraries do not name yet; the numbers are the same on every architecture. */
enum later {
    NR_IO_URING_SETUP = 425,
    NR_IO_URING_ENTER = 426,
    NR_IO_URING_REGISTER = 427,
    NR_OPEN_TREE = 428,
    NR_MOVE_MOUNT = 429,
    NR_FSOPEN = 430,
    NR_FSCONFIG = 431,
    NR_FSMOUNT = 432,
    NR_FSPICK = 433,
    NR_CLONE3 = 435,
    NR_PIDFD_GETFD = 438,
    NR_MOUNT_SETATTR = 442,
    NR_QUOTACTL_FD = 443,
    NR_MEMFD_SECRET = 447,
    NR_FCHMODAT2 = 452,
    NR_SETXATTRAT = 463,
    NR_REMOVEXATTRAT = 466,
    NR_OPEN_TREE_ATTR = 467,
    NR_FILE_SETATTR = 469,
};

/* Refused altogether. What needs a capability is refused by the kernel already; here so that a fault there
 * opens nothing. */
static const unsigned refused[] = {
    /* mounts and roots */
    NAME(mount),
    NAME(umount2),
    NAME(pivot_root),
    NAME(chroot),
    NR_OPEN_TREE,
    NR_OPEN_TREE_ATTR,
    NR_MOVE_MOUNT,
    NR_FSOPEN,
    NR_FSCONFIG,
    NR_FSMOUNT,
    NR_FSPICK,
    NR_MOUNT_SETATTR,
    NAME(swapon),
    NAME(swapoff),
    NAME(quotactl),
    NR_QUOTACTL_FD,
    NAME(open_by_handle_at),
    NAME(name_to_handle_at),
    NAME(fanotify_init),
    /* namespaces and other processes' insides */
    NAME(setns),
    NAME(process_vm_readv),
    NAME(process_vm_writev),
    NR_PIDFD_GETFD,
    NAME(kcmp),
    /* keys, the kernel's own machinery and its log */
    NAME(add_key),
    NAME(request_key),
    NAME(keyctl),
    NAME(bpf),
    NAME(perf_event_open),
    NAME(userfaultfd),
    NR_IO_URING_SETUP,
    NR_IO_URING_ENTER,
    NR_IO_URING_REGISTER,
    NR_MEMFD_SECRET,
    NAME(syslog),
    NAME(lookup_dcookie),
    NAME(kexec_load),
    NAME(init_module),
    NAME(finit_module),
    NAME(delete_module),
    NAME(acct),
    NAME(reboot),
    NAME(vhangup),
    /* the machine's clocks and names */
    NAME(settimeofday),
    NAME(clock_settime),
    NAME(adjtimex),
    NAME(clock_adjtime),
    NAME(sethostname),
    NAME(setdomainname),
#ifdef __x86_64__
    NAME(kexec_file_load),
    NAME(iopl),
    NAME(ioperm),
    NAME(modify_ldt),
    NAME(uselib),
    NAME(_sysctl),
    NAME(sysfs),
    NAME(ustat),
#endif
};

/* Memory and queues that no limit of a process counts, as if this kernel did not have them: programs then use
   files in /dev/shm or below TMPDIR, which the disk's size bounds, and ordinary input and output. */
static const unsigned absent[] = {
    NAME(memfd_create),
    NAME(io_setup),
};

/* Without namespaces: the host's System V and POSIX IPC, and what Landlock lets pass of the files of the same
   user. Programs that copy owners and attributes go on without. */
static const unsigned shared_ipc[] = {
    NAME(shmget), NAME(shmat),  NAME(shmctl), NAME(shmdt),  NAME(semget), NAME(semop),   NAME(semtimedop),
    NAME(semctl), NAME(msgget), NAME(msgsnd), NAME(msgrcv), NAME(msgctl), NAME(mq_open), NAME(mq_unlink),
};
static const unsigned shared_owners[] = {
    NAME(fchown),
    NAME(fchownat),
#ifdef SYS_chown
    NAME(chown),
    NAME(lchown),
#endif
};
static const unsigned shared_attributes[] = {
    NAME(setxattr),     NAME(lsetxattr), NAME(fsetxattr),  NAME(removexattr), NAME(lremovexattr),
    NAME(fremovexattr), NR_SETXATTRAT,   NR_REMOVEXATTRAT, NR_FILE_SETATTR,
};

struct program {
    struct sock_filter *out;
    size_t len, room;
};

static void add(struct program *p, uint16_t code, uint32_t k, uint8_t yes, uint8_t no) {
    if (p->len < p->room) p->out[p->len] = (struct sock_filter){.code = code, .jt = yes, .jf = no, .k = k};
    p->len++;
}

static void load(struct program *p, size_t offset) {
    add(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void answer(struct program *p, uint32_t action) {
    add(p, BPF_RET | BPF_K, action, 0, 0);
}

static uint32_t refuse_with(int error) {
    return SECCOMP_RET_ERRNO | ((uint32_t)error & SECCOMP_RET_DATA);
}

static void load_number(struct program *p) {
    load(p, offsetof(struct seccomp_data, nr));
}

/* The kernel looks at the low half of these arguments only, and so must the filter: anything may stand in the
 * high half. */
static void load_argument(struct program *p, unsigned index) {
    load(p, offsetof(struct seccomp_data, args) + index * sizeof(uint64_t));
}

/* For call nr: argument & mask, if it is not 0, ends in an error. Leaves the number loaded. */
static void refuse_bits(struct program *p, unsigned nr, unsigned argument, uint32_t mask, int error) {
    add(p, BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 4);
    load_argument(p, argument);
    add(p, BPF_JMP | BPF_JSET | BPF_K, mask, 0, 1);
    answer(p, refuse_with(error));
    answer(p, SECCOMP_RET_ALLOW);
}

/* For call nr: argument & mask equal to one of the values ends in `listed`, everything else in `other`. */
static void by_value(struct program *p, unsigned nr, unsigned argument, uint32_t mask, const uint32_t *values,
                     uint8_t count, uint32_t listed, uint32_t other) {
    add(p, BPF_JMP | BPF_JEQ | BPF_K, nr, 0, (uint8_t)(count + 4));
    load_argument(p, argument);
    add(p, BPF_ALU | BPF_AND | BPF_K, mask, 0, 0);
    for (uint8_t i = 0; i < count; i++)
        add(p, BPF_JMP | BPF_JEQ | BPF_K, values[i], (uint8_t)(count - i), 0);
    answer(p, other);
    answer(p, listed);
}

#define REFUSE_ALL(p, calls, error) refuse_all(p, calls, sizeof calls / sizeof *calls, error)
static void refuse_all(struct program *p, const unsigned *calls, size_t count, int error) {
    for (size_t i = 0; i < count; i++) {
        add(p, BPF_JMP | BPF_JEQ | BPF_K, calls[i], 0, 1);
        answer(p, refuse_with(error));
    }
}

static void check_architecture(struct program *p) {
    if (testing_off("seccomp-arch")) return;
    load(p, offsetof(struct seccomp_data, arch));
    add(p, BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0);
    answer(p, SECCOMP_RET_KILL_PROCESS);
#ifdef X32_BIT
    load_number(p);
    add(p, BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1);
    answer(p, refuse_with(ENOSYS));
#endif
}

static void check_namespaces(struct program *p) {
    if (testing_off("seccomp-namespaces")) return;
    refuse_bits(p, SYS_clone, 0, NEW_BY_CLONE, EPERM);
    refuse_bits(p, SYS_unshare, 0, NEW_NAMESPACES, EPERM);
    /* Its flags lie in memory, out of a filter's sight; C libraries fall back to clone. */
    add(p, BPF_JMP | BPF_JEQ | BPF_K, NR_CLONE3, 0, 1);
    answer(p, refuse_with(ENOSYS));
}

static void check_terminal(struct program *p) {
    static const uint32_t injections[] = {0x5412 /* TIOCSTI */, 0x541C /* TIOCLINUX */,
                                          0x541D /* TIOCCONS */};
    if (testing_off("seccomp-terminal")) return;
    by_value(p, SYS_ioctl, 1, ~0U, injections, 3, refuse_with(EPERM), SECCOMP_RET_ALLOW);
}

/* Families: Unix, IPv4, IPv6; and of netlink the interfaces and routes alone, which name lookups need. */
static void check_sockets(struct program *p, const struct seccomp_options *o) {
    uint32_t families[3];
    uint8_t count = 0;
    if (testing_off("seccomp-sockets")) return;
    uint32_t pair = AF_UNIX;
    by_value(p, SYS_socketpair, 0, ~0U, &pair, 1, SECCOMP_RET_ALLOW, refuse_with(EAFNOSUPPORT));
    if (!o->shared) families[count++] = AF_UNIX;
    if (!o->no_network) families[count++] = AF_INET;
    if (!o->no_network) families[count++] = AF_INET6;
    add(p, BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, (uint8_t)(count + 6));
    load_argument(p, 0);
    for (uint8_t i = 0; i < count; i++)
        add(p, BPF_JMP | BPF_JEQ | BPF_K, families[i], (uint8_t)(count - i + 3), 0);
    add(p, BPF_JMP | BPF_JEQ | BPF_K, o->no_network ? ~0U : AF_NETLINK, 0, 2);
    load_argument(p, 2);
    add(p, BPF_JMP | BPF_JEQ | BPF_K, 0 /* NETLINK_ROUTE */, 1, 0);
    answer(p, refuse_with(EAFNOSUPPORT));
    answer(p, SECCOMP_RET_ALLOW);
}

static void check_files(struct program *p, const struct seccomp_options *o) {
    static const uint32_t nodes[] = {S_IFCHR, S_IFBLK};
    if (!testing_off("seccomp-mknod")) {
        by_value(p, SYS_mknodat, 2, S_IFMT, nodes, 2, refuse_with(EPERM), SECCOMP_RET_ALLOW);
#ifdef SYS_mknod
        by_value(p, SYS_mknod, 1, S_IFMT, nodes, 2, refuse_with(EPERM), SECCOMP_RET_ALLOW);
#endif
    }
    if (!o->no_suid || testing_off("seccomp-suid")) return;
    /* A file created with these bits loses them when it is written to, so only later changes of the mode
     * count. */
    refuse_bits(p, SYS_fchmod, 1, S_ISUID | S_ISGID, EPERM);
    refuse_bits(p, SYS_fchmodat, 2, S_ISUID | S_ISGID, EPERM);
    refuse_bits(p, NR_FCHMODAT2, 2, S_ISUID | S_ISGID, EPERM);
#ifdef SYS_chmod
    refuse_bits(p, SYS_chmod, 1, S_ISUID | S_ISGID, EPERM);
#endif
}

/* For call nr: allowed when the argument is 0, the caller itself, and the first argument does not mean all
   processes of a user. */
static void only_itself(struct program *p, unsigned nr, unsigned argument, uint32_t whole_user) {
    add(p, BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 6);
    load_argument(p, 0);
    add(p, BPF_JMP | BPF_JEQ | BPF_K, whole_user, 2, 0);
    load_argument(p, argument);
    add(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0);
    answer(p, refuse_with(EPERM));
    answer(p, SECCOMP_RET_ALLOW);
}

/* The agent, and without a pid namespace the host's programs, are processes of the same user: the kernel
   would let a command change their limits and their share of the processor. */
static void check_others(struct program *p, const struct seccomp_options *o) {
    static const uint32_t agent[] = {1};
    if (testing_off("seccomp-others")) return;
    /* New limits, a pointer, for another process. */
    add(p, BPF_JMP | BPF_JEQ | BPF_K, SYS_prlimit64, 0, 8);
    load_argument(p, 0);
    add(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 5, 0);
    load_argument(p, 2);
    add(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2);
    load(p, offsetof(struct seccomp_data, args) + 2 * sizeof(uint64_t) + sizeof(uint32_t));
    add(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0);
    answer(p, refuse_with(EPERM));
    answer(p, SECCOMP_RET_ALLOW);
    only_itself(p, SYS_setpriority, 1, PRIO_USER);
    only_itself(p, SYS_ioprio_set, 1, 3 /* IOPRIO_WHO_USER */);
    only_itself(p, SYS_sched_setscheduler, 0, ~0U);
    only_itself(p, SYS_sched_setparam, 0, ~0U);
    only_itself(p, SYS_sched_setattr, 0, ~0U);
    /* Thread libraries set it for threads by their numbers, which are in sight of nobody else in a pid
     * namespace. */
    if (o->shared)
        only_itself(p, SYS_sched_setaffinity, 0, ~0U);
    else
        by_value(p, SYS_sched_setaffinity, 0, ~0U, agent, 1, refuse_with(EPERM), SECCOMP_RET_ALLOW);
}

size_t seccomp_build(const struct seccomp_options *o, struct sock_filter *out, size_t room) {
    /* PER_LINUX, the same without address randomisation (debuggers), and the question what it is. */
    static const uint32_t personalities[] = {0, 0x0040000, 0xFFFFFFFF};
    struct program p = {.out = out, .len = 0, .room = room};
    check_architecture(&p);
    load_number(&p);
    check_namespaces(&p);
    check_terminal(&p);
    check_sockets(&p, o);
    check_files(&p, o);
    check_others(&p, o);
    if (!testing_off("seccomp-calls"))
        by_value(&p, SYS_personality, 0, ~0U, personalities, 3, SECCOMP_RET_ALLOW, refuse_with(EPERM));
    if (!testing_off("seccomp-calls")) REFUSE_ALL(&p, refused, EPERM);
    if (!testing_off("seccomp-absent")) REFUSE_ALL(&p, absent, ENOSYS);
    if ((o->shared || o->no_ipc) && !testing_off("seccomp-shared")) REFUSE_ALL(&p, shared_ipc, ENOSYS);
    if (o->shared && !testing_off("seccomp-shared")) {
        REFUSE_ALL(&p, shared_owners, EPERM);
        REFUSE_ALL(&p, shared_attributes, ENOTSUP);
    }
    answer(&p, SECCOMP_RET_ALLOW);
    return p.len <= room ? p.len : 0;
}

bool seccomp_apply(const struct seccomp_options *o, struct confine_error *e) {
    struct sock_filter code[SECCOMP_PROGRAM_MAX];
    size_t len = seccomp_build(o, code, SECCOMP_PROGRAM_MAX);
    struct sock_fprog program = {.len = (unsigned short)len, .filter = code};
    if (len > 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0) return true;
    return confine_fail(e, "seccomp", errno, "use a kernel with CONFIG_SECCOMP_FILTER",
                        "installing the system call filter: %s", strerror(errno));
}
