/* One request to a port inside the sandbox, as proxy_host.c needs to know it. */
#ifndef AGENT_HANDLE_PROXY_H
#define AGENT_HANDLE_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/conn.h"
#include "agent/loop.h"
#include "util/buf.h"

struct proxy {
    struct exchange *x;
    struct watch backend;
    struct timer timer; /* of the connect; then it looks for clients that went away */
    struct buf out;     /* for the backend, from out_at on */
    size_t out_at;
    struct buf head; /* of the backend's response, until it is complete */
    int64_t left;    /* bytes of the response to come; -1 = until its end */
    void *search;    /* of proxy_host.c */
    int fd, port;
    bool second; /* 127.0.0.1 refused; this is ::1 */
    bool connected;
    bool upgrade, tunnel;
    bool complete; /* the client's request (or its side of the tunnel) is in the queue completely */
    bool deaf;     /* the backend takes no more bytes */
    bool held;     /* the client is slow: the backend is not read */
    bool answered;
    int quiet;   /* looks of the timer that saw no byte */
    bool active; /* bytes came since the timer looked last */
};

void handle_proxy_backend(struct watch *w, uint32_t events); /* of p->backend, once there is a socket */
void handle_proxy_fail(struct proxy *p, const char *what);
void handle_proxy_close(struct exchange *x); /* its on_close */

#endif
