/* A machine whose agent carries many sandboxes, as one client knows it: calls of that agent, and the handles
   of its sandboxes, which all end with it. Lock held throughout. */
#ifndef CLIENT_JOB_HOST_H
#define CLIENT_JOB_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/jobs.h"
#include "client/sandbox.h"
#include "util/buf.h"

struct host_call;
struct shared;

struct host {
    int refs;
    struct sbx_client *client;
    struct jobs *jobs;
    struct sbx_sandbox *agent; /* the handle of the machine itself; its death is the host's */
    struct job_machine *machine;
    struct host_call *calls;  /* all of them, those at the agent first */
    unsigned active;          /* at the agent */
    struct shared *shared;    /* its sandboxes that have a handle */
    void (*died)(void *ctx);  /* once, when all that belongs to it has been told; NULL = nobody cares */
    void (*quiet)(void *ctx); /* whenever no call is left */
    void *ctx;
};

/* Takes over agent's one reference, also on failure. NULL: no memory. */
struct host *host_new(struct jobs *jobs, struct sbx_sandbox *agent);
void host_hold(struct host *host);
void host_release(struct host *host);
bool host_dead(const struct host *host);
/* An agent of ours, which takes keys. */
bool host_honours_keys(const struct host *host);

struct host_reply {
    sbx_status status;      /* SBX_OK: 2xx, or the status that the call accepts */
    int http_status;        /* 0 = no answer came */
    bool unsure;            /* failed, and it may have happened */
    bool unsent;            /* failed, and the agent has seen nothing of it */
    bool dead;              /* failed, and the host has ended: nothing of it is left */
    const struct buf *body; /* NUL-terminated */
    sbx_error error;        /* when status is not SBX_OK; without the name of the public function */
};

struct host_call_spec {
    const char *method; /* these three are literals */
    const char *log_route;
    const char *what;   /* "making the sandbox": begins error messages */
    const char *target; /* as in transfer.h; copied */
    const void *body;   /* copied; NULL = none */
    size_t body_len;
    const char
        *key; /* "" or NULL: none; else the same key never acts twice, and a lost reply is asked for again */
    bool repeatable;  /* twice is the same as once */
    int accepts;      /* an error status that is an answer; 0 = none */
    int64_t deadline; /* no attempt begins after it, and no answer is waited for much longer */
    void (*done)(void *ctx, const struct host_reply *reply); /* once; the call is gone then */
    void *ctx;
};

/* Never calls done before it returns. NULL: no memory, or the host has ended. */
struct host_call *host_call(struct host *host, const struct host_call_spec *spec);
void host_call_cancel(struct host_call *call); /* no callback afterwards; NULL does nothing */
/* Nobody waits for it any more, but it has to come to its end: in the background, which the end of the client
   and the program wait for. done is still called. False: that cannot be had. */
bool host_call_apart(struct host_call *call);
void host_call_fail_all(struct host *host, const sbx_error *death); /* for host.c */

#endif
