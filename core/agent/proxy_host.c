/* The port n of a sandbox is the socket .sbx/proxy/n.sock in its home. Everything there is the sandbox's to
   change at any moment, so it is opened as its user, beneath its home, without following a link; what was
   opened then, and nothing else, is connected to; and the one who listens must be the sandbox's user. */
#include "agent/proxy_host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/file_beneath.h"
#include "agent/sandbox.h"
#include "agent/syscalls.h"
#include "agent/tenant.h"
#include "agent/workers.h"
#include "util/scope.h"
#include "util/testing.h"
#include "util/text.h"

#define PAUSE 20 /* ms, while the queue of the one who listens is full */

struct search {
    struct job job;
    struct timer timer;
    struct proxy *p; /* NULL once the exchange is over */
    struct tenant *tenant;
    int port;
    int fd, error; /* what a worker found */
    bool stranger; /* somebody else listens */
    bool running;  /* a worker has it */
};

static struct search *search_of(struct job *j) {
    return (struct search *)((char *)j - offsetof(struct search, job));
}

/* On a worker */

static int connect_own(struct search *s) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    char name[32];
    struct ucred who;
    socklen_t size = sizeof who;
    text_format(name, sizeof name, ".sbx/proxy/%d.sock", s->port);
    cleanup_fd int node = file_beneath_exactly(s->tenant, name);
    cleanup_fd int fd = node < 0 ? -1 : sys_socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK);
    text_format(to.sun_path, sizeof to.sun_path, "/proc/self/fd/%d", node);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0)
        return -1;
    s->stranger = who.uid != s->tenant->uid && !testing_off("proxy-owner");
    errno = EPERM;
    return s->stranger ? -1 : steal_fd(&fd);
}

static void look(struct job *j) {
    struct search *s = search_of(j);
    s->fd = -1;
    s->error = EPERM;
    if (!tenant_become(s->tenant)) return;
    s->fd = connect_own(s);
    s->error = s->fd < 0 ? errno : 0;
    tenant_come_back(s->tenant);
}

/* On the loop */

static void look_again(struct timer *t);

static void end(struct search *s) {
    if (s->p != NULL) s->p->search = NULL;
    loop_untimer(&s->timer);
    s->tenant->held--;
    free(s);
}

static const char *what_failed(const struct search *s) {
    if (s->stranger) return "who listens there is not of this sandbox";
    switch (s->error) {
    case ENOENT:
    case ENOTDIR:
    case ECONNREFUSED:
        return "nothing listens at this port's socket in $SBX_PROXY_DIR";
    case ELOOP:
    case EACCES:
        return "its socket in $SBX_PROXY_DIR is not the sandbox's own, or behind a link";
    default:
        return strerror(s->error);
    }
}

static void found(struct job *j) {
    struct search *s = search_of(j);
    struct proxy *p = s->p;
    const int fd = s->fd;
    const bool wanted = p != NULL && !p->answered;
    s->running = false;
    if (wanted && s->error == EAGAIN && loop_timer(&s->timer, loop_now() + PAUSE, look_again)) return;
    const char *failed = s->error != 0 ? what_failed(s) : NULL;
    end(s);
    if (!wanted && fd >= 0) close(fd);
    if (!wanted) return;
    p->fd = fd;
    if (failed == NULL && !loop_watch(&p->backend, fd, EPOLLOUT, handle_proxy_backend))
        failed = "out of memory";
    if (failed != NULL) handle_proxy_fail(p, failed);
}

static void submit(struct search *s) {
    s->running = true;
    workers_submit(&s->job);
}

static void look_again(struct timer *t) {
    submit((struct search *)((char *)t - offsetof(struct search, timer)));
}

static void on_close(struct exchange *x) {
    struct search *s = ((struct proxy *)x->ctx)->search;
    if (s != NULL && !s->running)
        end(s);
    else if (s != NULL)
        s->p = NULL;
    handle_proxy_close(x);
}

bool proxy_host_connect(struct proxy *p) {
    struct search *s = calloc(1, sizeof *s);
    if (s == NULL) return false;
    *s = (struct search){
        .job = {.work = look, .done = found}, .p = p, .tenant = p->x->sandbox->tenant, .port = p->port};
    s->tenant->held++;
    p->search = s;
    p->x->on_close = on_close;
    submit(s);
    return true;
}
