#include "proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/scope.h"

unsigned long upstream_opened;
static struct upstream *dead;

/* A socket belongs to the network namespace that the thread is in when it makes it, for as long as it lives.
 */
static int socket_inside(int netns) {
    static int home = -1;
    if (home < 0) home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (home < 0 || setns(netns, CLONE_NEWNET) != 0) return -1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (setns(home, CLONE_NEWNET) != 0) abort(); /* nothing that follows would be where it belongs */
    return fd;
}

static void remove_idle(struct upstream *u) {
    for (struct upstream **at = &u->job->idle; *at != NULL; at = &(*at)->next)
        if (*at == u) {
            *at = u->next;
            return;
        }
}

static void bury(struct upstream *u) {
    stream_close(&u->stream, false);
    u->dead = true;
    u->pair = NULL;
    u->next = dead;
    dead = u;
}

static void ready(struct watch *w, uint32_t events) {
    struct upstream *u = (struct upstream *)w;
    if (u->dead) return;
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) u->stream.readable = true;
    if ((events & EPOLLOUT) != 0) u->stream.writable = true;
    if (u->connecting && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) {
        int error = 0;
        socklen_t len = sizeof error;
        getsockopt(u->stream.fd, SOL_SOCKET, SO_ERROR, &error, &len);
        u->connecting = false;
        u->failed = error != 0;
    }
    if (u->pair != NULL) {
        pair_wake(u->pair);
        return;
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !=
        0) { /* the job has closed it, or says what nobody asked for */
        remove_idle(u);
        bury(u);
    }
}

static struct upstream *connect_to(struct job *job, unsigned port) {
    cleanup_fd int fd = socket_inside(job->netns);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((unsigned short)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct upstream *u = fd < 0 ? NULL : calloc(1, sizeof *u);
    if (u == NULL) return NULL;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        u->connecting = false;
    else if (errno == EINPROGRESS)
        u->connecting = true;
    else
        u->failed = true;
    u->watch.ready = ready;
    u->job = job;
    u->port = port;
    stream_open(&u->stream, fd, false);
    if (!loop_watch(fd, &u->watch)) u->failed = true;
    steal_fd(&fd);
    upstream_opened++;
    return u;
}

/* Nothing has come on it since its last reply, its end neither. */
static bool is_fresh(const struct upstream *u) {
    char byte;
    return recv(u->stream.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

struct upstream *upstream_get(struct job *job, unsigned port, bool reuse) {
    if (job->netns < 0) return NULL;
    for (struct upstream *u = job->idle, *next; reuse && u != NULL; u = next) {
        next = u->next;
        if (u->port != port) continue;
        remove_idle(u);
        if (is_fresh(u)) return u;
        bury(u);
    }
    return connect_to(job, port);
}

void upstream_put(struct upstream *u, bool again) {
    u->pair = NULL;
    if (!again || u->job->ended || u->stream.ended || u->stream.broken) {
        bury(u);
        return;
    }
    u->used = true;
    u->next = u->job->idle;
    u->job->idle = u;
}

void upstream_drop_idle(struct job *job) {
    while (job->idle != NULL) {
        struct upstream *u = job->idle;
        job->idle = u->next;
        bury(u);
    }
}

void upstream_free_dead(void) {
    while (dead != NULL) {
        struct upstream *next = dead->next;
        free(dead);
        dead = next;
    }
}
