/* Waits until the agent of a job answers: asks it at short intervals, and the Hub about the job at longer
   ones. Ends at once when that has no more sense. Lock held. */
#ifndef CLIENT_JOB_WAIT_H
#define CLIENT_JOB_WAIT_H

#include "client/jobs.h"
#include "client/job_log.h"
#include "client/transfer.h"

struct job_wait {
    struct jobs *jobs;
    struct job_machine *machine;
    const char *name; /* the public function */
    int64_t begun_ms, deadline;
    const char *const *secrets; /* to keep out of what the job says, the tokens included; NULL-terminated;
                                   NULL = the tokens */
    /* One of the two, once. */
    void (*ready)(void *ctx, struct endpoint *agent); /* which it takes over, with connections and features */
    void (*failed)(void *ctx, const sbx_error *error); /* with the job ended: machine->job says how */
    void *ctx;
    sbx_timings *timings;
    /* job_wait.c's own */
    bool active;
    struct endpoint agent;
    struct transfer *health;
    struct hub_call *inspect;
    struct io_timer health_timer, inspect_timer;
    int64_t health_pause, inspect_pause, asked_ms;
    int64_t heard_ms;  /* when the Hub last answered */
    int64_t log_until; /* of an ended job, at most */
    int last_status;
    struct buf reply;
    struct job_log log;
    sbx_error error;
};

/* The rest is zero. False: failed is not called, *err says why. */
bool job_wait_begin(struct job_wait *w, sbx_error *err);
/* "job ... is SCHEDULING": for op->doing. */
void job_wait_doing(const struct job_machine *machine, char *out, size_t room);
void job_wait_stop(struct job_wait *w); /* no callback afterwards; harmless when it has ended */

#endif
