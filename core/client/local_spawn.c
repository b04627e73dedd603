#include "client/local_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/error.h"
#include "client/signal_guard.h"
#include "util/clock.h"
#include "util/scope.h"
#include "util/testing.h"
#include "wire/names.h"

/* Older C libraries know neither the calls nor the constant; the numbers are the same on every architecture.
 */
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#define WAIT_PIDFD ((idtype_t)3)

/* Everything we keep or pass on stands at or above this: the host program may have closed 0 to 2 (and later
   write to whatever got those numbers), and the places 3 to 6 of the child must not be sources and targets at
   once. */
#define FD_FLOOR 16

static int lift(int fd) {
    if (fd < 0 || fd >= FD_FLOOR || testing_off("lift-descriptors")) return fd;
    int up = fcntl(fd, F_DUPFD_CLOEXEC, FD_FLOOR);
    int error = errno == EINVAL ? EMFILE : errno; /* the limit is below the floor */
    close(fd);
    errno = error;
    return up;
}

int local_spawn_pidfd(pid_t pid) {
    return lift((int)syscall(SYS_pidfd_open, pid, 0));
}

void local_spawn_signal(int pidfd, int signal_number) {
    if (pidfd >= 0) syscall(SYS_pidfd_send_signal, pidfd, signal_number, NULL, 0);
}

static int config_file(const char *config, size_t len) {
    cleanup_fd int fd = lift(memfd_create("hfsandbox-config", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (fd < 0) return -1;
    if (!signal_guard_write(fd, config, len, 0)) return -1;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) return -1;
    return steal_fd(&fd);
}

/* The descriptors of one start: the child's, which are closed here once it runs, and ours, which stay. */
struct ends {
    int config, control_theirs, control_ours, status_theirs, status_ours, client;
};

static void ends_close(struct ends *e) {
    scope_close(&e->config);
    scope_close(&e->control_theirs);
    scope_close(&e->control_ours);
    scope_close(&e->status_theirs);
    scope_close(&e->status_ours);
    scope_close(&e->client);
}

static bool ends_open(struct ends *e, const char *config, size_t len, bool detached) {
    e->config = config_file(config, len);
    if (e->config < 0) return false;
    int pair[2];
    if (!detached) {
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return false;
        e->control_ours = lift(pair[0]);
        e->control_theirs = lift(pair[1]);
        if (e->control_ours < 0 || e->control_theirs < 0) return false;
    }
    if (pipe2(pair, O_CLOEXEC) != 0) return false;
    e->status_ours = lift(pair[0]);
    e->status_theirs = lift(pair[1]);
    e->client = local_spawn_pidfd(getpid());
    return e->status_ours >= 0 && e->status_theirs >= 0 && e->client >= 0 &&
           fcntl(e->status_ours, F_SETFL, O_NONBLOCK) == 0;
}

static int place_ends(posix_spawn_file_actions_t *actions, const struct ends *e) {
    int bad = 0;
    for (int fd = 0; fd <= 2 && bad == 0; fd++) {
#ifdef SBX_TESTING
        if (fd == 2 && getenv("SBX_TEST_STDERR") != NULL) continue;
#endif
        bad = posix_spawn_file_actions_addopen(actions, fd, "/dev/null", O_RDWR, 0);
    }
    const int places[][2] = {{e->config, LOCAL_FD_CONFIG},
                             {e->control_theirs, LOCAL_FD_ENDPOINT},
                             {e->status_theirs, LOCAL_FD_STATUS},
                             {e->client, LOCAL_FD_CLIENT}};
    for (size_t i = 0; i < sizeof places / sizeof *places && bad == 0; i++)
        if (places[i][0] >= 0) bad = posix_spawn_file_actions_adddup2(actions, places[i][0], places[i][1]);
    return bad;
}

/* The child starts with default signal actions, none blocked, and a session of its own: Ctrl-C at the host
   program's terminal is not for it. */
static int set_attributes(posix_spawnattr_t *attributes) {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int bad = posix_spawnattr_setsigmask(attributes, &none);
    if (bad == 0) bad = posix_spawnattr_setsigdefault(attributes, &all);
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID;
    if (bad == 0) bad = posix_spawnattr_setflags(attributes, flags);
    return bad;
}

/* Nothing of the host program's environment, which may hold credentials, reaches the agent. */
static void fill_environment(char *environment[], size_t room) {
    size_t count = 0;
#ifdef SBX_TESTING
    extern char **environ;
    for (char **item = environ; item != NULL && *item != NULL && count + 1 < room; item++) {
        if (strncmp(*item, "SBX_TEST_", 9) == 0 || strncmp(*item, "ASAN_OPTIONS=", 13) == 0 ||
            strncmp(*item, "UBSAN_OPTIONS=", 14) == 0)
            environment[count++] = *item;
    }
#endif
    (void)room;
    environment[count] = NULL;
}

static int run(pid_t *pid, const char *agent, const struct ends *e) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    char *environment[32];
    char *const argv[] = {(char[]){"hfsandbox-agent"}, (char[]){"--local"}, NULL};
    int bad = posix_spawn_file_actions_init(&actions);
    if (bad != 0) return bad;
    bad = posix_spawnattr_init(&attributes);
    if (bad == 0) {
        fill_environment(environment, sizeof environment / sizeof *environment);
        bad = place_ends(&actions, e);
        if (bad == 0) bad = set_attributes(&attributes);
        if (bad == 0) bad = posix_spawn(pid, agent, &actions, &attributes, argv, environment);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return bad;
}

/* Without a pidfd the child cannot be owned safely: end it. It is not reaped yet, so its number is still its
   own, unless the host program waits for every child; then it has ended. */
static void give_up(pid_t pid) {
    siginfo_t info;
    if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0) kill(pid, SIGKILL);
    while (waitid(P_PID, (id_t)pid, &info, WEXITED) != 0 && errno == EINTR) {
    }
}

sbx_status local_spawn(struct local_child *child, const char *agent, const char *config, size_t config_len,
                       bool detached, sbx_error *err) {
    *child = (struct local_child)LOCAL_CHILD_INIT;
    struct ends e = {-1, -1, -1, -1, -1, -1};
    if (!ends_open(&e, config, config_len, detached)) {
        int error = errno;
        ends_close(&e);
        return error_system(err, error, "the descriptors for the sandbox's agent");
    }
    pid_t pid = 0;
    int pidfd = -1;
    int bad = run(&pid, agent, &e);
    if (bad == 0) {
        pidfd = local_spawn_pidfd(pid);
        if (pidfd < 0) {
            bad = errno;
            give_up(pid);
        }
    }
    if (bad != 0) {
        ends_close(&e);
        return error_system(err, bad, "start of the agent %s", agent);
    }
    *child = (struct local_child){
        .pid = pid, .pidfd = pidfd, .control = steal_fd(&e.control_ours), .status = steal_fd(&e.status_ours)};
    ends_close(&e);
    return SBX_OK;
}

bool local_spawn_ended(int pidfd, int timeout_ms) {
    int64_t deadline = clock_deadline(timeout_ms);
    for (;;) {
        struct pollfd p = {.fd = pidfd, .events = POLLIN};
        int n = poll(&p, 1, clock_poll_ms(deadline));
        if (n >= 0) return n > 0;
        if (errno != EINTR) return false;
    }
}

bool local_spawn_wait(struct local_child *child, int timeout_ms, int *how) {
    int status = -1;
    if (child->pidfd >= 0) {
        if (!local_spawn_ended(child->pidfd, timeout_ms)) return false;
        /* ECHILD is fine: the host program ignores SIGCHLD, or has waited for all of its children. */
        siginfo_t info = {.si_pid = 0};
        int got;
        do {
            got = waitid(WAIT_PIDFD, (id_t)child->pidfd, &info, WEXITED | WNOHANG);
        } while (got != 0 && errno == EINTR);
        if (got == 0 && info.si_pid != 0)
            status = info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status & 0x7f;
    }
    if (how != NULL) *how = status;
    scope_close(&child->pidfd);
    scope_close(&child->control);
    scope_close(&child->status);
    *child = (struct local_child)LOCAL_CHILD_INIT;
    return true;
}
