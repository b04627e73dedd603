/* One creation of a job, in three parts: job_create.c begins and ends it, job_post.c makes the job once,
   job_adopt.c waits for the agent in it. Lock held. */
#ifndef CLIENT_JOB_CREATION_H
#define CLIENT_JOB_CREATION_H

#include "client/job_request.h"
#include "client/job_wait.h"
#include "client/jobs.h"

struct json;

struct creation {
    struct creation *next, *prev; /* of jobs->creations */
    struct op *op;
    struct jobs *jobs;
    struct jobs_waiter who;
    struct hub_call *call;
    bool call_makes; /* the call under way makes a job */
    struct io_timer timer;
    /* Of the options. */
    char hub_namespace[JOB_NAME_SIZE];
    char flavor[64], key[65];
    char image[512];
    struct buf body[2]; /* with our agent; with the Hub's */
    int64_t lifetime_s;
    bool lifetime_given, detached, forward;
    uint64_t max_cost;
    uint16_t ports[JOB_PORTS_MAX];
    size_t port_count;
    char **hide; /* secrets, the tokens included, for what the Hub and the job say */
    size_t hidden;
    /* The state. */
    char nonce[2][JOB_NONCE_SIZE]; /* of each body */
    bool hub_agent;                /* which one */
    unsigned posts, looks;
    unsigned replaced; /* sandboxes of our key that had ended when they were waited for */
    bool unsure[2];    /* of each body: a post of it may have made a job that is not known */
    struct job_machine *machine;
    struct job_wait wait;
    struct job_host_settings host; /* pool NULL: none */
    sbx_timings timings;
};

bool creation_has(const struct jobs *jobs, const char *nonce); /* a creation under way may have made it */
void creation_stop_all(struct jobs *jobs); /* the program ends; what they may have made is canceled */
void creation_release(struct creation *c,
                      sbx_status status); /* without its op, which has ended so or goes on */
void creation_fail(struct creation *c, const sbx_error *error);
/* Asks the Hub something, by GET; what it cannot begin fails the creation. */
void creation_ask(struct creation *c, const char *route, const char *what, const char *target,
                  void (*done)(void *, const struct hub_reply *));

void creation_post(struct creation *c); /* makes the job, and adopts it */
void creation_look_again(void *ctx);    /* of c->timer: whether a post whose reply was lost has made one */

/* The job that is ours. made: by this call, so that another one with our key may have been made at the same
 * time. */
void creation_adopt(struct creation *c, const struct job *job, const struct json *value, bool made);
/* Looks for a sandbox of our key: adopts the oldest when it is not ours, which then goes; else makes ours, or
 * waits for it. */
void creation_seek_key(struct creation *c);

#endif
