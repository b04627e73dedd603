#include "proxy.h"

#include <stdio.h>
#include <string.h>

/* <job>--<port>.<domain> */
static bool parse_host(struct slice host, char *id, unsigned *port) {
    const char *dashes = host.p == NULL ? NULL : memmem(host.p, host.len, "--", 2);
    size_t len = dashes == NULL ? 0 : (size_t)(dashes - host.p);
    if (len == 0 || len >= NAME_MAX_LEN) return false;
    memcpy(id, host.p, len);
    id[len] = '\0';
    *port = 0;
    const char *p = dashes + 2, *end = host.p + host.len;
    while (p < end && *p >= '0' && *p <= '9' && *port < 65536)
        *port = *port * 10 + (unsigned)(*p++ - '0');
    return p < end && *p == '.' && *port > 0 && *port < 65536;
}

/* By the path /p/<job>--<port>.<domain>/..., which then is not the job's to see, or by the host. */
static bool find_destination(const struct head *head, struct slice *target, char *id, unsigned *port) {
    struct slice t = head->target;
    if (t.len > 3 && memcmp(t.p, "/p/", 3) == 0) {
        size_t end = 3;
        while (end < t.len && t.p[end] != '/' && t.p[end] != '?')
            end++;
        if (parse_host((struct slice){t.p + 3, end - 3}, id, port)) {
            *target = (struct slice){t.p + end, t.len - end};
            if (target->len == 0) *target = (struct slice){"/", 1};
            return true;
        }
    }
    *target = t;
    return parse_host(head_field(head, "host"), id, port);
}

/* The name in the handshake is the one in the request. */
static bool names_agree(const struct pair *p, const struct head *head) {
    const char *sni = stream_sni(&p->client);
    struct slice host = head_field(head, "host");
    const char *colon = host.p == NULL ? NULL : memchr(host.p, ':', host.len);
    if (colon != NULL) host.len = (size_t)(colon - host.p);
    return sni == NULL || host.p == NULL || slice_is(host, sni);
}

static void forward(struct pair *p, const struct head *head, struct slice target) {
    struct buf out = BUF_INIT(HEAD_MAX * 2);
    p->request = p->request_body.done ? REQUEST_DONE : REQUEST_BODY;
    p->reply = REPLY_HEAD;
    p->request_body_bytes = p->reply_body_bytes = 0;
    if (!head_write_request(&out, head, target, !p->set.reuse) ||
        !queue_put(&p->up, pair_due(p, p->set.rtt_us / 2), out.data, out.len))
        pair_kill(p, true);
    buf_free(&out);
}

static void refuse(struct pair *p, const struct head *head, int status) {
    char action[32];
    snprintf(action, sizeof action, "status:%d", status);
    log_request(p, head, action);
    reply_local(p, status, NULL, NULL);
}

static void meet_fault(struct pair *p, const struct head *head, struct slice target) {
    static const char *const names[] = {"forward",   "status",      "cut", "lose-reply",
                                        "cut-reply", "cut-request", "hang"};
    log_request(p, head, names[p->fault.kind]);
    switch (p->fault.kind) {
    case FAULT_STATUS:
        reply_local(p, p->fault.status, p->fault.headers, p->fault.body);
        break;
    case FAULT_CUT:
        pair_kill(p, !p->fault.orderly);
        break;
    case FAULT_HANG:
        p->request = REQUEST_DEAF;
        break;
    default:
        forward(p, head, target);
    }
}

void request_begin(struct pair *p, const struct head *head) {
    char id[NAME_MAX_LEN] = "";
    struct slice target;
    p->requests++;
    p->port = 0;
    bool found = find_destination(head, &target, id, &p->port);
    p->job = table_job(id);
    p->set = p->job != NULL ? p->job->set : table_defaults;
    p->to_head = slice_is(head->method, "HEAD");
    p->last = head->old || head_has_token(head, "connection", "close");
    p->fault = (struct fault){.kind = FAULT_NONE};
    if (!body_of_request(&p->request_body, head)) {
        p->last = p->request_body.done = true;
        refuse(p, head, 400);
        return;
    }
    int status = !found                  ? 404
                 : !names_agree(p, head) ? 421
                                         : table_check(p->job, p->port, head_field(head, "authorization"));
    if (status == 200 && p->set.max_body > 0 && p->request_body.left > p->set.max_body) status = 413;
    if (status != 200) {
        refuse(p, head, status);
        return;
    }
    const struct fault *fault = table_fault(id, p->port, head->method, target);
    if (fault != NULL) p->fault = *fault;
    meet_fault(p, head, target);
}
