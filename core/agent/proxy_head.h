/* The heads that pass through the proxy: pure functions on text. */
#ifndef AGENT_PROXY_HEAD_H
#define AGENT_PROXY_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/http.h"
#include "util/buf.h"

/* Splits "<port>/<rest>" and gives the target that the backend shall see, without query: "/" for a bare port.
 * NULL: no port. */
const char *proxy_head_target(const char *param, int *port);

/* The request as the backend gets it: without credentials of the agent and without what concerns one
   connection only; `Connection: close`, unless it asks for an upgrade. */
void proxy_head_request(const struct http_request *r, const char *target, bool upgrade, struct buf *out);

struct proxy_response {
    int status;
    int64_t length; /* of the body by Content-Length; -1 = not told */
    size_t head;    /* bytes of the head */
};

/* 1: data begins with a complete head; 0: not yet; -1: this is no HTTP/1 response. */
int proxy_head_scan(const char *data, size_t len, struct proxy_response *out);

/* The head that proxy_head_scan found, as the client gets it: the connection ends after this response. */
void proxy_head_response(const char *data, const struct proxy_response *r, struct buf *out);

#endif
