/* The request that makes a job with a sandbox in it. */
#ifndef CLIENT_JOB_REQUEST_H
#define CLIENT_JOB_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "client/error.h"
#include "client/job.h"
#include "util/buf.h"

#define JOB_IMAGE       "python:3.12"
#define JOB_FLAVOR      "cpu-basic"
#define JOB_LIFETIME_MS 86400000
#define JOB_IDLE_MS     600000
#define JOB_PORTS_MAX   10

/* Those that make no sense, or that the provider does not have. */
sbx_status job_request_check(const sbx_sandbox_options *options, const char *function, sbx_error *err);

/* For a provider that has none of them. */
sbx_status job_request_absent(const sbx_sandbox_options *options, const char *function, sbx_error *err);

bool job_request_carries_agent(bool host); /* this build does */

/* The job is a host of a pool: many sandboxes, by its agent. */
struct job_machine;
struct job_host_settings {
    const char *pool;
    unsigned capacity, max_hosts;                       /* max_hosts 0 = no ceiling */
    void (*accepted)(void *ctx, const struct job *job); /* the Hub has made it */
    /* Instead of canceling it when the call has failed: it may be in use. */
    void (*given_up)(void *ctx, struct job_machine *machine);
    void *ctx;
};

struct job_request {
    const struct job_host_settings *host; /* NULL = a sandbox of its own */
    const sbx_sandbox_options *options;
    const char *hub_url;
    const char *hub_token;
    const char *nonce;
    bool hub_agent; /* the Hub's own agent, downloaded in the job or mounted, instead of ours inside the
                       request */
};

/* The body but for its end, into out, which holds secrets then. */
sbx_status job_request_begin(struct buf *out, const struct job_request *request, sbx_error *err);
bool job_request_end(struct buf *out, int64_t lifetime_s);

#endif
