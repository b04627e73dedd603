/* The jobs provider's own: the Hub, whose jobs they are, and the machines that this client knows. Lock held.
 */
#ifndef CLIENT_JOBS_H
#define CLIENT_JOBS_H

#include <stdbool.h>
#include <stdint.h>

#include "client/client.h"
#include "client/hub.h"
#include "client/job.h"
#include "client/op.h"
#include "client/sandbox.h"

#define JOBS_CALL_MS 60000 /* the longest that one question to the Hub goes on */

struct jobs_waiter {                                  /* of who the token's user is */
    void (*known)(void *ctx, const sbx_error *error); /* error NULL: jobs->user is */
    void *ctx;
    struct jobs_waiter *next;
    bool waits;
};

struct jobs {
    struct hub hub;
    struct sbx_client *client;
    char *hub_namespace;      /* of the client's options; NULL = the user */
    char user[JOB_NAME_SIZE]; /* "" = not known yet */
    struct hub_call *who;
    struct jobs_waiter *waiters;
    struct job_machine *machines;
    struct creation *creations; /* under way */
    struct sbx_pool *pools;
    int64_t hub_ahead_ms;     /* what its clock had before ours when it last answered a list */
    unsigned starting;        /* machines that are waited for */
    struct jobs *next, *prev; /* of this process */
};

/* A job that this client has made or found, from the moment it knows of it. */
struct job_machine {
    struct job_machine *next, *prev;
    struct jobs *jobs;
    struct sbx_sandbox *sandbox; /* NULL: none yet */
    struct job job;
    char hub_namespace[JOB_NAME_SIZE];
    char *url;        /* of the agent's port */
    char **port_urls; /* by index of ports */
    uint16_t *ports;
    size_t port_count;
    bool owned; /* by this client: ends with it. Detached ones are not. */
    bool made;  /* here: its end is told by telemetry */
    bool ended;
    struct hub_call *doubt; /* is it still there? */
    int64_t doubted_ms;
    int64_t refused_ms; /* when the Hub refused the token in that question; 0 = it did not */
    sbx_error refused;
    int64_t made_ms; /* clock_ms */
    char session[33];
    char **hide; /* secrets that its messages may repeat; ended by NULL, may be NULL; owned */
};

sbx_status jobs_new(struct sbx_client *client, sbx_error *err); /* provider_data */
void jobs_free(struct sbx_client *client);
struct jobs *jobs_of(const struct sbx_client *client);

/* True: jobs_namespace can be asked. False: waiter->known is called later, unless it is forgotten first. */
bool jobs_know(struct jobs *jobs, struct jobs_waiter *waiter);
void jobs_forget(struct jobs *jobs, struct jobs_waiter *waiter);
/* asked (may be NULL or ""), else the client's, else the user. */
const char *jobs_namespace(const struct jobs *jobs, const char *asked);
/* Whether the user must be known for that. */
bool jobs_needs_user(const struct jobs *jobs, const char *asked);

/* Whether the token's user, who must be known, has made it: the key of another one's would go to a stranger.
 */
bool jobs_made_by_us(const struct jobs *jobs, const struct job *job);

/* Asks the Hub for what the op is about: GET /api/<route>; route and what are literals. done gets the op as
 * its ctx, and sets op->ctx to NULL first of all. */
void jobs_ask(struct op *op, const char *route, const char *what,
              void (*done)(void *, const struct hub_reply *));

struct job_machine *job_machine_new(struct jobs *jobs, const struct job *job, const char *hub_namespace);
/* Wipes and frees a list of secrets; NULL does nothing. */
void jobs_free_secrets(char **secrets);
void job_machine_free(struct job_machine *m); /* it ended, or is not owned, or its end is on its way */
/* Makes the handle, one reference, to the agent that answers at the endpoint, which is taken over. NULL: no
 * memory. */
struct sbx_sandbox *job_machine_sandbox(struct job_machine *m, struct endpoint *agent);
void job_machine_ended(struct job_machine *m,
                       const struct job *last); /* as the Hub says (NULL: it knows it no more) */

#endif
