#include "job.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/scope.h"

#define NEW_NAMESPACES                                                                                       \
    (CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC |               \
     CLONE_NEWCGROUP)

static struct job_spec spec;

static int pidfd_open(pid_t pid) {
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static void report(const char *text) {
    (void)!send(STDOUT_FILENO, text, strlen(text), MSG_NOSIGNAL);
}

static void report_failure(const char *name) {
    char text[512];
    snprintf(text, sizeof text, "failed %s: %s", name, strerror(errno));
    report(text);
}

static int report_with(const char *text, const int *fds, size_t count) {
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int) * (1 + JOB_LISTENS))];
    } control = {0};
    struct iovec part = {.iov_base = (void *)(size_t)text, .iov_len = strlen(text)};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = CMSG_SPACE(sizeof(int) * count)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(header), fds, sizeof(int) * count);
    return sendmsg(STDOUT_FILENO, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/* -- inside */

/* The Hub gets the network namespace and the sockets in it before the command can do anything. */
static const char *hand_out_network(void) {
    int fds[1 + JOB_LISTENS];
    if (job_net_up() != 0) return "lo";
    fds[0] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (fds[0] < 0) return "the network namespace";
    for (size_t i = 0; i < spec.listen_count; i++)
        if ((fds[i + 1] = job_net_listen(spec.listens[i])) < 0) return "listening inside";
    return report_with("ready", fds, 1 + spec.listen_count) == 0 ? NULL : "handing out the network";
}

/* Its end ends this process too; the parent itself ends with the Hub. A parent that had gone before the
   kernel was asked has left the error pipe without a reader. After the changes of uid, which clear the wish.
 */
static const char *die_with_parent(int error_pipe) {
    struct pollfd reader = {.fd = error_pipe, .events = 0};
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return "the signal of the parent's death";
    return poll(&reader, 1, 0) < 0 || (reader.revents & POLLERR) != 0 ? "the parent" : NULL;
}

static const char *become_container(int from_parent, int error_pipe) {
    const char *hostname = spec.hostname != NULL ? spec.hostname : "job";
    char go;
    if (read(from_parent, &go, 1) != 1) return "the uid map";
    if (setgroups(0, NULL) != 0 || setresgid(0, 0, 0) != 0 || setresuid(0, 0, 0) != 0) return "uid 0";
    const char *failed = die_with_parent(error_pipe);
    if (failed == NULL) failed = hand_out_network();
    if (failed != NULL) return failed;
    if (sethostname(hostname, strlen(hostname)) != 0) return "the host name";
    failed = job_root_enter(&spec);
    if (failed != NULL) return failed;
    if (setsid() < 0) return "a session";
    return spec.privileged ? NULL : job_confine();
}

/* The error pipe closes by a successful exec; what is written into it before is the step that failed. */
static _Noreturn void inside(int from_parent, int error_pipe) {
    const char *failed = become_container(from_parent, error_pipe);
    if (failed == NULL) {
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGPIPE, SIG_DFL);
        environ = spec.env;
        if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
            failed = "the standard streams";
        else {
            execvp(spec.argv[0], spec.argv);
            failed = spec.argv[0];
        }
    }
    char text[512];
    int n = snprintf(text, sizeof text, "%s: %s", failed, strerror(errno));
    (void)!write(error_pipe, text, (size_t)(n < (int)sizeof text ? n : (int)sizeof text - 1));
    _exit(127);
}

/* -- outside */

static int write_map(pid_t pid, const char *file) {
    char path[64], text[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    int n = snprintf(text, sizeof text, "0 %u 65536", spec.base);
    cleanup_fd int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 || write(fd, text, (size_t)n) != n ? -1 : 0;
}

/* Waits for the exec, and for commands meanwhile; false when the step that failed has been reported. */
static bool wait_for_exec(int error_pipe, pid_t pid) {
    char text[600] = "failed ";
    size_t len = strlen(text), prefix = len;
    struct pollfd fds[2] = {{.fd = error_pipe, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    for (;;) {
        if (poll(fds, 2, -1) < 0) continue;
        if (fds[1].revents != 0) { /* nothing that can be asked for now but the end */
            kill(pid, SIGKILL);
            fds[1].fd = -1;
        }
        if (fds[0].revents == 0) continue;
        ssize_t n = read(error_pipe, text + len, sizeof text - 1 - len);
        if (n <= 0) break;
        len += (size_t)n;
    }
    text[len] = '\0';
    report(len == prefix ? "started" : text);
    return len == prefix;
}

/* The first process's end is the end of all of them: the kernel kills what is left in its pid namespace
 * before it can be reaped. */
static void watch(pid_t pid, int pidfd) {
    struct pollfd fds[2] = {{.fd = pidfd, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    for (;;) {
        if (poll(fds, 2, -1) < 0) continue;
        if (fds[0].revents != 0) return;
        char command = 'K';
        if (fds[1].revents == 0) continue;
        if (read(STDIN_FILENO, &command, 1) <= 0) fds[1].fd = -1;
        kill(pid, command == 'T' ? SIGTERM : SIGKILL);
    }
}

static int finish(pid_t pid, bool started) {
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return 1;
    if (!started) return 1;
    char text[32];
    if (WIFEXITED(status))
        snprintf(text, sizeof text, "exit %d", WEXITSTATUS(status));
    else
        snprintf(text, sizeof text, "signal %d", WTERMSIG(status));
    report(text);
    return 0;
}

int main(void) {
    const char *error;
    int to_child[2], errors[2];
    if (!job_spec_read(&spec, STDIN_FILENO, &error)) {
        report_failure(error);
        return 1;
    }
    if (pipe2(to_child, O_CLOEXEC) != 0 || pipe2(errors, O_CLOEXEC) != 0) {
        report_failure("a pipe");
        return 1;
    }
    pid_t pid = (pid_t)syscall(SYS_clone, NEW_NAMESPACES | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0) {
        close(to_child[1]);
        close(errors[0]);
        inside(to_child[0], errors[1]);
    }
    close(to_child[0]);
    close(errors[1]);
    if (pid < 0) {
        report_failure("new namespaces");
        return 1;
    }
    cleanup_fd int pidfd = pidfd_open(pid);
    if (pidfd < 0 || write_map(pid, "uid_map") != 0 || write_map(pid, "gid_map") != 0 ||
        write(to_child[1], "g", 1) != 1) {
        report_failure("the uid map");
        kill(pid, SIGKILL);
        finish(pid, false);
        return 1;
    }
    bool started = wait_for_exec(errors[0], pid);
    if (started) watch(pid, pidfd);
    _exit(finish(
        pid, started)); /* its memory is everybody's until the end; a search for leaks would only take time */
}
