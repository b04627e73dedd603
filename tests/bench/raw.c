/* An agent and raw connections to it: HTTP as thin as it can be, so that what is measured is the agent. */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TOKEN "bench-token"

static int connect_to(int port) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) bench_fail("no socket: %s", strerror(errno));
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 60}, sizeof(struct timeval));
    return fd;
}

static int free_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&address, len) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        bench_fail("no port");
    close(fd);
    return ntohs(address.sin_port);
}

void agent_start(struct agent *a) {
    char port[32];
    a->port = free_port();
    snprintf(port, sizeof port, "SBX_PORT=%d", a->port);
    char *env[] = {port, "SBX_TOKEN=" TOKEN, "PATH=/usr/bin:/bin", "HOME=/tmp", NULL};
    double start = bench_now();
    if (posix_spawn(&a->pid, bench.agent, NULL, NULL, (char *[]){(char *)bench.agent, NULL}, env) != 0)
        bench_fail("cannot start %s", bench.agent);
    for (;;) {
        int fd = connect_to(a->port), status;
        if (fd >= 0) {
            struct raw *r = malloc(sizeof *r);
            if (r == NULL) bench_fail("out of memory");
            *r = (struct raw){.fd = fd};
            raw_send(r, "GET", "/health", NULL, NULL, 0);
            if (raw_finish(r, NULL, NULL) != 200) bench_fail("/health did not answer 200");
            a->answered = bench_now() - start;
            raw_close(r);
            return;
        }
        if (waitpid(a->pid, &status, WNOHANG) == a->pid) bench_fail("the agent ended at once");
        if (bench_now() - start > 10) bench_fail("the agent does not answer");
        nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    }
}

void agent_stop(struct agent *a) {
    kill(a->pid, SIGTERM);
    waitpid(a->pid, NULL, 0);
}

struct raw *raw_open(const struct agent *a) {
    struct raw *r = malloc(sizeof *r);
    if (r == NULL) bench_fail("out of memory");
    r->len = r->at = 0;
    r->fd = connect_to(a->port);
    if (r->fd < 0) bench_fail("cannot connect: %s", strerror(errno));
    return r;
}

void raw_close(struct raw *r) {
    close(r->fd);
    free(r);
}

static void send_all(int fd, const char *data, size_t len) {
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n <= 0) bench_fail("cannot send: %s", strerror(errno));
        data += n;
        len -= (size_t)n;
    }
}

void raw_send(struct raw *r, const char *method, const char *target, const char *type, const void *body,
              size_t len) {
    char head[1024];
    int n = snprintf(head, sizeof head,
                     "%s %s HTTP/1.1\r\nHost: a\r\nX-Sandbox-Token: " TOKEN
                     "\r\n%s%s%sContent-Length: %zu\r\n\r\n",
                     method, target, type == NULL ? "" : "Accept: ", type == NULL ? "" : type,
                     type == NULL ? "" : "\r\n", len);
    if (body != NULL && (size_t)n + len <= sizeof head) {
        memcpy(head + n, body, len);
        send_all(r->fd, head, (size_t)n + len);
    } else {
        send_all(r->fd, head, (size_t)n);
        if (body != NULL) send_all(r->fd, body, len);
    }
}

static void more(struct raw *r) {
    if (r->at > 0) {
        memmove(r->data, r->data + r->at, r->len - r->at);
        r->len -= r->at;
        r->at = 0;
    }
    ssize_t n = recv(r->fd, r->data + r->len, sizeof r->data - r->len, 0);
    if (n <= 0) bench_fail("the agent closed the connection");
    r->len += (size_t)n;
}

static char *line(struct raw *r) {
    for (;;) {
        char *end = memmem(r->data + r->at, r->len - r->at, "\r\n", 2);
        if (end != NULL) {
            char *start = (char *)r->data + r->at;
            *end = '\0';
            r->at = (size_t)(end + 2 - (char *)r->data);
            return start;
        }
        more(r);
    }
}

static void skip(struct raw *r, size_t len) {
    while (len > 0) {
        if (r->at == r->len) more(r);
        size_t have = r->len - r->at < len ? r->len - r->at : len;
        r->at += have;
        len -= have;
    }
}

int raw_finish(struct raw *r, size_t *body, double *first) {
    const char *text = line(r);
    int status = strlen(text) > 12 ? atoi(text + 9) : 0;
    size_t length = 0, total = 0;
    bool chunked = false;
    while (*(text = line(r)) != '\0') {
        if (strncasecmp(text, "Content-Length:", 15) == 0) length = strtoull(text + 15, NULL, 10);
        if (strncasecmp(text, "Transfer-Encoding:", 18) == 0) chunked = true;
    }
    if (!chunked) {
        skip(r, length);
        total = length;
    } else {
        size_t size;
        while ((size = strtoull(line(r), NULL, 16)) > 0) {
            if (first != NULL && total == 0) *first = bench_now();
            skip(r, size + 2);
            total += size;
        }
        line(r);
    }
    if (body != NULL) *body = total;
    return status;
}

/* The last chunk ends a streamed answer: nothing follows it, as these connections have one request under way.
 */
bool raw_ready(struct raw *r) {
    ssize_t n = recv(r->fd, r->data + r->len, sizeof r->data - r->len, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN)) bench_fail("the agent closed the connection");
    if (n > 0) r->len += (size_t)n;
    bool complete = r->len > 7 && memcmp(r->data + r->len - 7, "\r\n0\r\n\r\n", 7) == 0;
    if (complete) {
        if (memcmp(r->data, "HTTP/1.1 200", 12) != 0) bench_fail("an exec was refused");
        r->len = r->at = 0;
    }
    return complete;
}
