#include "job.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "the filter knows x86_64 and aarch64"
#endif

#define NEW_BY_CLONE 0x7E020000U /* the CLONE_NEW flags that clone takes */

/* What a container has by Docker's default; CAP_SYS_ADMIN is not among it. */
static const unsigned kept[] = {
    CAP_CHOWN,   CAP_DAC_OVERRIDE, CAP_FSETID,           CAP_FOWNER,
    CAP_MKNOD,   CAP_NET_RAW,      CAP_SETGID,           CAP_SETUID,
    CAP_SETFCAP, CAP_SETPCAP,      CAP_NET_BIND_SERVICE, CAP_SYS_CHROOT,
    CAP_KILL,    CAP_AUDIT_WRITE,
};

/* Calls that Docker's default filter refuses to a container without CAP_SYS_ADMIN and its like. Numbers above
   400 are the same on every architecture, and not every C library names them. */
static const unsigned refused[] = {
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_setns,
    SYS_unshare,
    SYS_quotactl,
    SYS_swapon,
    SYS_swapoff,
    SYS_reboot,
    SYS_acct,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_add_key,
    SYS_request_key,
    SYS_keyctl,
    SYS_userfaultfd,
    SYS_kexec_load,
    SYS_init_module,
    SYS_syslog,
    SYS_kcmp,
    SYS_finit_module,
    SYS_vhangup,
    SYS_move_pages,
    SYS_delete_module,
    SYS_mbind,
    SYS_nfsservctl,
    SYS_open_by_handle_at,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_lookup_dcookie,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_fanotify_init,
    425 /* io_uring_setup */,
    426,
    427,
    428 /* open_tree */,
    429 /* move_mount */,
    430 /* fsopen */,
    431 /* fsconfig */,
    432 /* fsmount */,
    433 /* fspick */,
    442 /* mount_setattr */,
    443 /* quotactl_fd */,
    467 /* open_tree_attr */,
};

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static const char *drop_capabilities(void) {
    uint32_t wanted[2] = {0, 0};
    for (size_t i = 0; i < COUNT(kept); i++)
        wanted[kept[i] / 32] |= 1U << (kept[i] % 32);
    for (unsigned cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
        if (!(wanted[cap / 32] >> (cap % 32) & 1) && prctl(PR_CAPBSET_DROP, cap) != 0)
            return "drop capabilities";
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct data[2] = {
        {.effective = wanted[0], .permitted = wanted[0]},
        {.effective = wanted[1], .permitted = wanted[1]},
    };
    return syscall(SYS_capset, &header, data) == 0 ? NULL : "set capabilities";
}

static const char *refuse_calls(void) {
    struct sock_filter filter[16 + 2 * COUNT(refused)];
    unsigned short n = 0;
#define LOAD(offset)      filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offset))
#define RETURN(value)     filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, (value))
#define UNLESS(op, value) filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | (op) | BPF_K, (value), 0, 1)
    LOAD(offsetof(struct seccomp_data, arch));
    filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0);
    RETURN(SECCOMP_RET_ERRNO | ENOSYS);
    LOAD(offsetof(struct seccomp_data, nr));
#ifdef __x86_64__
    UNLESS(BPF_JGE, 0x40000000U); /* x32 */
    RETURN(SECCOMP_RET_ERRNO | ENOSYS);
#endif
    for (size_t i = 0; i < COUNT(refused); i++) {
        UNLESS(BPF_JEQ, refused[i]);
        RETURN(SECCOMP_RET_ERRNO | EPERM);
    }
    UNLESS(BPF_JEQ,
           435); /* clone3: its flags are out of a filter's reach, so C libraries must fall back to clone */
    RETURN(SECCOMP_RET_ERRNO | ENOSYS);
    filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3);
    LOAD(offsetof(struct seccomp_data, args[0])); /* little-endian: the low half, where the flags are */
    UNLESS(BPF_JSET, NEW_BY_CLONE);
    RETURN(SECCOMP_RET_ERRNO | EPERM);
    RETURN(SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = n, .filter = filter};
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0 ? NULL : "filter of system calls";
}

/* The filter first: without no_new_privs, which a container does not have either, it takes CAP_SYS_ADMIN. */
const char *job_confine(void) {
    const char *failed = refuse_calls();
    return failed != NULL ? failed : drop_capabilities();
}
