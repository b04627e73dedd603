#include "agent/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/binds.h"
#include "agent/descend.h"
#include "agent/localdir.h"
#include "agent/loop.h"
#include "agent/namespaces.h"
#include "agent/syscalls.h"
#include "util/clock.h"
#include "util/testing.h"
#include "util/text.h"
#include "util/whole.h"
#include "wire/limits.h"
#include "wire/names.h"

#define OOM_SCORE   "500" /* the sandbox goes before the host's own programs */
#define STOPS_MOST  16    /* of the serving process, each within STOPS_APART of the one before */
#define STOPS_APART 1000

static struct {
    pid_t pid;
    int life; /* read end of a pipe whose only writer is the keeper */
    bool in_namespace;
} self = {.pid = 0, .life = -1};

pid_t keeper_pid(void) {
    return self.pid;
}

static bool keeper_gone(void) {
    struct pollfd p = {.fd = self.life, .events = POLLIN};
    return self.life >= 0 && poll(&p, 1, 0) > 0 && (p.revents & POLLHUP) != 0;
}

bool keeper_bind(void) {
    if (testing_off("death-signal")) return true;
    /* A keeper that died before this sends no signal any more, but its pipe tells. */
    return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && !keeper_gone();
}

static void on_keeper_gone(struct watch *w, uint32_t events) {
    (void)w, (void)events;
    descend_end();
    _exit(1);
}

bool keeper_follow(void) {
    static struct watch watch;
    if (self.in_namespace || testing_off("death-signal")) return true;
    /* A command of the same user may have stopped this process. */
    return loop_watch(&watch, self.life, EPOLLIN, on_keeper_gone) && prctl(PR_SET_PDEATHSIG, SIGCONT) == 0 &&
           !keeper_gone();
}

static _Noreturn void fail(const struct confine_error *e) {
    struct buf line = BUF_INIT(KIB(4));
    signal(SIGPIPE, SIG_IGN);
    if (confine_error_json(e, &line) && buf_putc(&line, '\n'))
        whole_write(LOCAL_FD_STATUS, line.data, line.len);
    buf_free(&line);
    localdir_remove();
    _exit(1);
}

static bool client_gone(void) {
    struct pollfd p = {.fd = LOCAL_FD_CLIENT, .events = POLLIN};
    return !testing_off("client-watch") && poll(&p, 1, 0) > 0;
}

static void close_from(unsigned first) {
#ifdef SYS_close_range
    if (syscall(SYS_close_range, first, ~0U, 0) == 0) return;
#endif
    for (int fd = (int)first; fd < 1024; fd++)
        close(fd);
}

void keeper_begin(void) {
    self.pid = getpid();
    close_from(LOCAL_FD_CLIENT + 1);
    for (int fd = LOCAL_FD_CONFIG; fd <= LOCAL_FD_CLIENT; fd++)
        (void)ioctl(fd, FIOCLEX);
    (void)chdir("/"); /* the caller's directory may be wanted elsewhere, or unmounted, long before the end */
    (void)setsid();   /* refused only when it leads a session already */
    if (client_gone()) _exit(1);
}

static int signals(sigset_t *before) {
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGHUP);
    sigaddset(&ends, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ends, before);
    return signalfd(-1, &ends, SFD_CLOEXEC);
}

/* In the serving process: what it holds of the keeper's goes, and it waits until the keeper has mapped its
 * uid. */
static void serve(const sigset_t *before, int go[2], int signal_fd) {
    localdir_leave();
    close(signal_fd);
    close(LOCAL_FD_CLIENT);
    close(go[1]);
    self.life = go[0];
    sigprocmask(SIG_SETMASK, before, NULL);
    char byte;
    if (!keeper_bind() || read(self.life, &byte, 1) != 1) _exit(1);
    /* Without a pid namespace whatever loses its parent comes to this process. */
    if (!self.in_namespace) prctl(PR_SET_CHILD_SUBREAPER, 1);
}

static pid_t make_child(const struct confine_config *c, int *pidfd, struct confine_error *e) {
    pid_t pid = namespaces_fork(c, pidfd, e);
    if (pid <= 0 || *pidfd >= 0) return pid;
    confine_fail(e, "life", ENOSYS, "use Linux 5.3 or newer", "the kernel gives no descriptor of a process");
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return -1;
}

static void raise_oom_score(pid_t pid) {
    char path[64];
    text_format(path, sizeof path, "/proc/%d/oom_score_adj", (int)pid);
    (void)whole_put(path, OOM_SCORE);
}

/* At level landlock a command can stop the serving process, and with it its timers and the watch of the
   memory. It goes on at once. False: there is no end to it. */
static bool revive(pid_t pid) {
    static int stops;
    static int64_t last;
    siginfo_t seen = {.si_pid = 0};
    if (waitid(P_PID, (id_t)pid, &seen, WSTOPPED | WNOHANG) != 0 || seen.si_pid == 0) return true;
    int64_t now = clock_ms();
    stops = now - last < STOPS_APART ? stops + 1 : 1;
    last = now;
    return stops < STOPS_MOST && kill(pid, SIGCONT) == 0;
}

static bool goes_on(const struct confine_config *c, pid_t pid, int signal_fd) {
    struct signalfd_siginfo info;
    if (read(signal_fd, &info, sizeof info) != (ssize_t)sizeof info || info.ssi_signo != SIGCHLD)
        return false;
    return c->level != CONFINE_LANDLOCK || testing_off("stopped-agent") || revive(pid);
}

/* Until the client, the serving process or a signal says that it is over. */
static void watch(const struct confine_config *c, bool detached, pid_t pid, int pidfd, int signal_fd) {
    bool client = !testing_off("client-watch");
    for (;;) {
        struct pollfd p[3] = {{.fd = pidfd, .events = POLLIN},
                              {.fd = signal_fd, .events = POLLIN},
                              {.fd = client ? LOCAL_FD_CLIENT : -1, .events = POLLIN}};
        if (poll(p, 3, -1) < 0) {
            if (errno == EINTR) continue;
            return;
        }
        if (p[0].revents != 0 || (p[1].revents != 0 && !goes_on(c, pid, signal_fd))) return;
        if (p[2].revents == 0) continue;
        if (!detached || !localdir_committed()) return;
        client = false;
        close(LOCAL_FD_CLIENT);
    }
}

static _Noreturn void keep(const struct confine_config *c, bool detached, pid_t pid, int pidfd,
                           int signal_fd) {
    watch(c, detached, pid, pidfd, signal_fd);
    siginfo_t seen = {.si_pid = 0};
    waitid(P_PID, (id_t)pid, &seen, WEXITED | WNOHANG | WNOWAIT);
    bool ended = seen.si_pid == pid;
    kill(pid, SIGKILL); /* not reaped yet, so the number is still its own */
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (c->level != CONFINE_FULL) descend_end();
    localdir_remove();
    if (!ended) _exit(0);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

void keeper_split(const struct confine_config *c, bool detached) {
    struct confine_error e = {.step = "", .error = 0};
    sigset_t before;
    int go[2], pidfd = -1;
    int signal_fd = signals(&before);
    self.in_namespace = c->level == CONFINE_FULL;
    if (!self.in_namespace) prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (signal_fd < 0 || sys_pipe(go, O_CLOEXEC) != 0) {
        confine_fail(&e, "life", errno, "", "starting the keeper: %s", strerror(errno));
        fail(&e);
    }
    if (c->level == CONFINE_FULL && !binds_prepare(c, &e)) fail(&e);
    pid_t pid = make_child(c, &pidfd, &e);
    if (pid == 0) {
        serve(&before, go, signal_fd);
        return;
    }
    if (pid < 0) fail(&e);
    signal(SIGPIPE, SIG_IGN); /* only here: commands would inherit it */
    raise_oom_score(pid);
    if (c->level == CONFINE_FULL && !namespaces_map(pid, &e)) {
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            continue;
        fail(&e);
    }
    whole_write(go[1], "g", 1);
    /* What only the serving process may hold open, so that its end is seen at the other ends. */
    close(LOCAL_FD_ENDPOINT);
    close(LOCAL_FD_STATUS);
    close(go[0]);
    binds_forget();
    keep(c, detached, pid, pidfd, signal_fd);
}
