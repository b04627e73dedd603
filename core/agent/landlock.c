#include "agent/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/root.h"
#include "util/scope.h"
#include "util/testing.h"
#include "util/text.h"

#define NR_CREATE 444
#define NR_ADD    445

/* Rights as the kernel numbers them; headers older than the kernel lack the later ones. */
#define EXECUTE     (1ULL << 0)
#define WRITE_FILE  (1ULL << 1)
#define READ_FILE   (1ULL << 2)
#define READ_DIR    (1ULL << 3)
#define REMOVE_FILE (1ULL << 5)
#define MAKE_CHAR   (1ULL << 6)
#define MAKE_FILE   (1ULL << 8)
#define MAKE_BLOCK  (1ULL << 11)
#define TRUNCATE    (1ULL << 14) /* ABI 3 */
#define IOCTL_DEV   (1ULL << 15) /* ABI 5 */

#define BIND_TCP (1ULL << 0) /* ABI 4 */

#define SCOPE_ABSTRACT (1ULL << 0)
#define SCOPE_SIGNAL   (1ULL << 1)

#define READ     (READ_FILE | READ_DIR)
#define OF_FILES (EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV)
#define CHANGE   (~(MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV))

struct ruleset {
    uint64_t files, network, scope;
};

struct rule {
    uint64_t allowed;
    int32_t parent;
} __attribute__((packed));

struct grant {
    const char *path;
    uint64_t rights;
};

/* Level full: the root holds nothing but what may be read. */
static const struct grant full[] = {
    {"/", READ | EXECUTE},
    {"/proc", READ | WRITE_FILE | TRUNCATE},
    {"/dev", READ | WRITE_FILE | TRUNCATE | IOCTL_DEV},
    {NULL, 0},
};

/* Of a machine's own tree, at whatever level it is seen. */
static const struct grant common[] = {
    {"/usr", READ | EXECUTE},
    {"/bin", READ | EXECUTE},
    {"/sbin", READ | EXECUTE},
    {"/lib", READ | EXECUTE},
    {"/lib32", READ | EXECUTE},
    {"/lib64", READ | EXECUTE},
    {"/libx32", READ | EXECUTE},
    {"/proc", READ},
    {"/dev/null", READ | CHANGE},
    {"/dev/zero", READ | CHANGE},
    {"/dev/full", READ | CHANGE},
    {"/dev/random", READ},
    {"/dev/urandom", READ},
    {"/dev/tty", READ | CHANGE | IOCTL_DEV},
    {"/dev/ptmx", READ | CHANGE | IOCTL_DEV},
    {"/dev/pts", READ | WRITE_FILE | IOCTL_DEV},
    {NULL, 0},
};

/* Level landlock: the host's own tree, of which most stays out of sight. Its /dev/shm is shared with the
   host, so it is left out; /proc shows the host's processes, whose memory and environment the domain
   protects. */
static const struct grant shared[] = {
    {"/etc/passwd", READ},      {"/etc/group", READ},
    {"/etc/hosts", READ},       {"/etc/hostname", READ},
    {"/etc/resolv.conf", READ}, {"/etc/nsswitch.conf", READ},
    {"/etc/localtime", READ},   {NULL, 0},
};

/* Host mode: the machine's own tree, as its image made it. /run may hold sockets and secrets of others, /tmp
   would be shared. Of /dev/shm, which semaphores and shared memory need, each sandbox has its own files:
   others' names cannot be listed, their files belong to other users, and what it leaves is removed at its
   end. */
static const struct grant tenant[] = {
    {"/etc", READ | EXECUTE},
    {"/opt", READ | EXECUTE},
    {"/run/systemd/resolve", READ},
    {"/sys/devices/system", READ},
    {"/sys/fs/cgroup", READ},
    {"/dev/shm", READ_FILE | WRITE_FILE | TRUNCATE | MAKE_FILE | REMOVE_FILE},
    {NULL, 0},
};

static uint64_t rights_of(int abi) {
    if (abi >= 5) return (1ULL << 16) - 1;
    if (abi >= 3) return (1ULL << 15) - 1;
    return abi == 2 ? (1ULL << 14) - 1 : (1ULL << 13) - 1;
}

int landlock_abi(void) {
    long abi = syscall(NR_CREATE, NULL, 0, 1U /* LANDLOCK_CREATE_RULESET_VERSION */);
    if (abi <= 0 || testing_off("landlock")) return 0;
    return abi > 2 && testing_off("landlock-truncate") ? 2 : (int)abi;
}

static bool grant(int ruleset, uint64_t handled, const char *path, uint64_t rights, struct confine_error *e) {
    struct stat st;
    cleanup_fd int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return true;
    if (fd < 0 || fstat(fd, &st) != 0)
        return confine_fail(e, "landlock", errno, "", "opening %s: %s", path, strerror(errno));
    struct rule rule = {.allowed = rights & handled & (S_ISDIR(st.st_mode) ? ~0ULL : OF_FILES), .parent = fd};
    if (syscall(NR_ADD, ruleset, 1 /* LANDLOCK_RULE_PATH_BENEATH */, &rule, 0) == 0) return true;
    return confine_fail(e, "landlock", errno, "", "a rule for %s: %s", path, strerror(errno));
}

static bool grant_all(int ruleset, uint64_t handled, const struct grant *grants, struct confine_error *e) {
    for (; grants->path != NULL; grants++)
        if (!grant(ruleset, handled, grants->path, grants->rights, e)) return false;
    return true;
}

static bool grant_full(int ruleset, uint64_t handled, const struct confine_config *c,
                       struct confine_error *e) {
    char path[64];
    if (!grant_all(ruleset, handled, full, e)) return false;
    for (size_t i = 0; root_writable[i] != NULL; i++) {
        text_format(path, sizeof path, "/%s", root_writable[i]);
        if (!grant(ruleset, handled, path, CHANGE, e)) return false;
    }
    for (size_t i = 0; i < c->bind_count; i++)
        if (c->binds[i].writable && !grant(ruleset, handled, c->binds[i].target, CHANGE, e)) return false;
    return true;
}

static bool grant_shared(int ruleset, uint64_t handled, const struct confine_config *c, const char *home,
                         const char *tmp, struct confine_error *e) {
    char path[64];
    if (!grant_all(ruleset, handled, common, e) || !grant_all(ruleset, handled, shared, e)) return false;
    for (size_t i = 0; root_etc[i] != NULL; i++) {
        text_format(path, sizeof path, "/etc/%s", root_etc[i]);
        if (!grant(ruleset, handled, path, READ, e)) return false;
    }
    for (size_t i = 0; i < c->bind_count; i++)
        if (!grant(ruleset, handled, c->binds[i].target, c->binds[i].writable ? CHANGE : READ | EXECUTE, e))
            return false;
    return grant(ruleset, handled, home, CHANGE, e) && grant(ruleset, handled, tmp, CHANGE, e);
}

bool landlock_apply(const struct confine_config *c, const char *home, const char *tmp,
                    struct confine_error *e) {
    int abi = landlock_abi();
    /* Older ones let every file of the user be truncated, which is all right only behind a root of its own.
     */
    int least = c->level == CONFINE_FULL ? 1 : 3;
    uint64_t handled = rights_of(abi);
    struct ruleset attr = {.files = handled};
    if (abi >= LANDLOCK_ABI_SCOPE && !testing_off("scope")) attr.scope = SCOPE_ABSTRACT | SCOPE_SIGNAL;
    size_t size = abi >= LANDLOCK_ABI_SCOPE ? sizeof attr
                  : abi >= 4                ? 2 * sizeof(uint64_t)
                                            : sizeof(uint64_t);
    cleanup_fd int ruleset = abi < least ? -1 : (int)syscall(NR_CREATE, &attr, size, 0);
    if (ruleset < 0)
        return confine_fail(e, "landlock", abi < least ? ENOSYS : errno,
                            "use Linux 6.2 or newer with landlock in its lsm= boot parameter",
                            "Landlock of version %d here, %d is needed", abi, least);
    bool ok = c->level == CONFINE_FULL ? grant_full(ruleset, handled, c, e)
                                       : grant_shared(ruleset, handled, c, home, tmp, e);
    if (ok && syscall(LANDLOCK_NR_RESTRICT, ruleset, 0) != 0)
        return confine_fail(e, "landlock", errno, "", "entering the domain: %s", strerror(errno));
    return ok;
}

int landlock_tenant(int home) {
    int abi = landlock_abi();
    uint64_t handled = rights_of(abi);
    struct ruleset attr = {.files = handled, .network = testing_off("host-bind") ? 0 : BIND_TCP};
    struct confine_error e = {.error = 0};
    /* Each command has a domain of its own, and one must be able to signal another of its sandbox: signals
     * are bounded by the user. */
    if (abi >= LANDLOCK_ABI_SCOPE && !testing_off("scope")) attr.scope = SCOPE_ABSTRACT;
    size_t size = abi >= LANDLOCK_ABI_SCOPE ? sizeof attr : (abi >= 4 ? 2 : 1) * sizeof(uint64_t);
    cleanup_fd int ruleset = (int)syscall(NR_CREATE, &attr, size, 0);
    if (ruleset < 0) return -1;
    struct rule rule = {.allowed = CHANGE & handled, .parent = home};
    if (syscall(NR_ADD, ruleset, 1, &rule, 0) != 0) return -1;
    if (!grant_all(ruleset, handled, common, &e) || !grant_all(ruleset, handled, tenant, &e)) {
        errno = e.error;
        return -1;
    }
    return steal_fd(&ruleset);
}
