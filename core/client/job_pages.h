/* All living hosts of pools, page by page, for those who look at them in one way or another. Lock held. */
#ifndef CLIENT_JOB_PAGES_H
#define CLIENT_JOB_PAGES_H

#include "client/jobs.h"

struct json;

struct job_pages { /* embedded in its owner; the rest is zero */
    struct jobs *jobs;
    const char *name;          /* the public function, for messages; NULL = none */
    const char *hub_namespace; /* asked for; NULL or "" = the client's; outlives it, as pool does */
    const char *pool;          /* NULL = of all */
    int64_t deadline;
    void (*item)(void *ctx, const struct job *job,
                 const struct json *value);          /* may do anything but stop it */
    void (*done)(void *ctx, const sbx_error *error); /* once; NULL = all have been seen */
    void *ctx;
    /* job_pages.c's own */
    bool active;
    struct jobs_waiter who;
    struct hub_call *call;
    unsigned pages;
};

void job_pages_begin(struct job_pages *p); /* may call done before it returns */
void job_pages_stop(struct job_pages *p);  /* no callback afterwards; harmless when it has ended */

#endif
