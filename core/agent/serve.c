#include "agent/serve.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/conn.h"
#include "agent/host.h"
#include "agent/loop.h"
#include "agent/syscalls.h"
#include "util/scope.h"
#include "util/testing.h"
#include "wire/limits.h"

#define BACKLOG        4096 /* the kernel lowers it to its own limit */
#define ACCEPT_AT_ONCE 16
#define ACCEPT_PAUSE   100 /* ms, when descriptors or memory have run out */

static struct watch listener = {.fd = -1}, control = {.fd = -1};
static struct timer pause_timer;

static void on_listener(struct watch *w, uint32_t events);

static void accept_again(struct timer *t) {
    (void)t;
    loop_rewatch(&listener, EPOLLIN);
}

static void on_listener(struct watch *w, uint32_t events) {
    (void)events;
    for (int i = 0; i < ACCEPT_AT_ONCE; i++) {
        int fd = sys_accept(w->fd, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            if (agent_host() != NULL)
                agent_host()->open(fd);
            else
                conn_open(fd);
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED) continue;
        bool exhausted = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
        /* The waiting connection stays in the backlog; looking at it all the time would only burn the
         * processor. */
        if (exhausted && loop_timer(&pause_timer, loop_now() + ACCEPT_PAUSE, accept_again))
            loop_rewatch(w, 0);
        return;
    }
}

static bool set_nonblocking(int fd) {
    int on = 1;
    return ioctl(fd, FIONBIO, &on) == 0;
}

static bool set_cloexec(int fd) {
    return ioctl(fd, FIOCLEX) == 0;
}

bool serve_listener(int fd) {
    return set_nonblocking(fd) && set_cloexec(fd) && loop_watch(&listener, fd, EPOLLIN, on_listener);
}

/* Accepted sockets inherit these. A tunnel or a stream has no deadline, and a peer that vanished says
   nothing: the kernel asks it. TIMEOUT_WRITE without an answer is the end, whether bytes are on their way or
   not. */
static void set_tcp_options(int fd) {
    int on = 1, every = (int)(testing_ms(INTERVAL_KEEPALIVE) / 1000), most = (int)testing_ms(TIMEOUT_WRITE);
    if (every < 1) every = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (testing_off("keepalive")) return;
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &every, sizeof every);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof every);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &most, sizeof most);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

static int bound_socket(int family, int port) {
    cleanup_fd int fd = sys_socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return -1;
    int on = 1, off = 0;
    struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    set_tcp_options(fd);
    if (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) < 0) return -1;
    int bound = family == AF_INET6 ? bind(fd, (struct sockaddr *)&any6, sizeof any6)
                                   : bind(fd, (struct sockaddr *)&any4, sizeof any4);
    if (bound < 0 || listen(fd, BACKLOG) < 0) return -1;
    return steal_fd(&fd);
}

bool serve_port(int port) {
    int fd = bound_socket(AF_INET6, port);
    if (fd < 0 && errno != EADDRINUSE) fd = bound_socket(AF_INET, port);
    if (fd < 0) return false;
    if (serve_listener(fd)) return true;
    close(fd);
    return false;
}

static void open_received(int fd) {
    if (set_nonblocking(fd))
        conn_open(fd);
    else
        close(fd);
}

/* One message: one byte and one connected socket. */
static void on_control(struct watch *w, uint32_t events) {
    (void)events;
    char byte;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } ancillary;
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary};
    ssize_t n = syscall(SYS_recvmsg, w->fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        loop_unwatch(w);
        close(w->fd);
        w->fd = -1;
        agent_shutdown(0);
        return;
    }
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (c == NULL || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) return;
    /* By its alignment the space for one descriptor holds two. */
    for (size_t at = 0; at + sizeof(int) <= c->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
        int fd;
        memcpy(&fd, CMSG_DATA(c) + at, sizeof fd);
        if (at == 0)
            open_received(fd);
        else
            close(fd);
    }
}

bool serve_control(int fd) {
    return set_cloexec(fd) && loop_watch(&control, fd, EPOLLIN, on_control);
}

void serve_stop(void) {
    loop_untimer(&pause_timer);
    struct watch *both[] = {&listener, &control};
    for (int i = 0; i < 2; i++) {
        loop_unwatch(both[i]);
        if (both[i]->fd >= 0) close(both[i]->fd);
        both[i]->fd = -1;
    }
}
