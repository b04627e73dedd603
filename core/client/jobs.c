#include "client/jobs.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/fork_lock.h"
#include "client/hub_error.h"
#include "client/job_creation.h"
#include "client/job_end.h"
#include "client/json.h"
#include "client/log.h"
#include "client/parting.h"
#include "client/pool.h"
#include "client/provider.h"
#include "client/telemetry.h"
#include "util/clock.h"
#include "util/testing.h"
#include "util/text.h"

#define DOUBT_MS 1000 /* between two questions whether a machine lives */

/* ---- All of this process, for its end */

static struct fork_lock all_lock;
static struct jobs *all;

static bool lock_within(pthread_mutex_t *lock, int64_t ms) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)(ms / 1000) + 1;
    return pthread_mutex_timedlock(lock, &until) == 0;
}

/* Other threads may be at work still: what they wait for ends here, so that none of them is in TLS when that
 * is gone. */
static void end_calls(struct sbx_client *client) {
    if (testing_off("calls-at-exit")) return;
    atomic_store(&client->ending, true);
    for (struct sbx_sandbox *sandbox = client->sandboxes, *next; sandbox != NULL; sandbox = next) {
        sandbox_hold(sandbox);
        while (sandbox->ops != NULL)
            op_failf(sandbox->ops, SBX_ERROR_CANCELED, "%s: canceled: the program ends", sandbox->ops->name);
        next = sandbox->next;
        sandbox_release(sandbox);
    }
}

/* Attached machines do not outlive the program: local ones notice its end by themselves, jobs do not. */
static void at_exit(void) {
    if (!fork_lock_take_within(&all_lock, 1000)) return;
    for (struct jobs *jobs = all; jobs != NULL; jobs = jobs->next) {
        struct sbx_client *client = jobs->client;
        if (!client_is_ours(client) || !lock_within(&client->io.lock, 4000)) continue;
        end_calls(client);
        creation_stop_all(jobs);
        if (!testing_off("pools-at-exit")) pool_end_all(jobs);
        for (struct job_machine *m = jobs->machines; m != NULL; m = m->next) {
            if (m->sandbox != NULL && m->owned && !m->ended) job_end_machine(m, "atexit");
        }
        client_unlock(client);
    }
    fork_lock_give(&all_lock);
}

/* Whoever was at work in a client has left off. */
static void at_last(void) {
    if (!fork_lock_take_within(&all_lock, 200)) return;
    for (struct jobs *jobs = all; jobs != NULL; jobs = jobs->next) {
        if (client_is_ours(jobs->client) && lock_within(&jobs->client->io.lock, 200))
            client_unlock(jobs->client);
    }
    fork_lock_give(&all_lock);
}

static void enlist(struct jobs *jobs) {
    fork_lock_take(&all_lock);
    jobs->next = all;
    if (all != NULL) all->prev = jobs;
    all = jobs;
    fork_lock_give(&all_lock);
}

static void delist(struct jobs *jobs) {
    fork_lock_take(&all_lock);
    if (jobs->prev != NULL) {
        jobs->prev->next = jobs->next;
    } else {
        all = jobs->next;
    }
    if (jobs->next != NULL) jobs->next->prev = jobs->prev;
    fork_lock_give(&all_lock);
}

/* ---- Life */

sbx_status jobs_new(struct sbx_client *client, sbx_error *err) {
    const struct client_hub *options = &client->hub_options;
    struct jobs *jobs = calloc(1, sizeof *jobs);
    if (jobs == NULL) return error_memory(err);
    jobs->client = client;
    sbx_status status = SBX_OK;
    if (options->hub_namespace != NULL) {
        if (!job_name_ok(options->hub_namespace)) {
            status = error_set(
                err, SBX_ERROR_INVALID,
                "sbx_client_new: hub_namespace is '%.80s': give the name of a user or an organization",
                options->hub_namespace);
        } else if ((jobs->hub_namespace = strdup(options->hub_namespace)) == NULL) {
            status = error_memory(err);
        }
    }
    if (status == SBX_OK) status = hub_init(&jobs->hub, client, options->endpoint, options->token, err);
    if (status != SBX_OK) {
        free(jobs->hub_namespace);
        free(jobs);
        return status;
    }
    client->provider_data = jobs;
    if (!testing_off("jobs-at-exit")) parting_at_exit(at_exit, at_last);
    enlist(jobs);
    return SBX_OK;
}

void jobs_free(struct sbx_client *client) {
    struct jobs *jobs = client->provider_data;
    delist(jobs);
    while (jobs->machines != NULL)
        job_machine_free(jobs->machines);
    hub_free(&jobs->hub);
    free(jobs->hub_namespace);
    free(jobs);
    client->provider_data = NULL;
}

struct jobs *jobs_of(const struct sbx_client *client) {
    return client->provider_data;
}

/* ---- Whose jobs */

bool jobs_needs_user(const struct jobs *jobs, const char *asked) {
    return (asked == NULL || *asked == '\0') && jobs->hub_namespace == NULL && jobs->user[0] == '\0';
}

const char *jobs_namespace(const struct jobs *jobs, const char *asked) {
    if (asked != NULL && *asked != '\0') return asked;
    return jobs->hub_namespace != NULL ? jobs->hub_namespace : jobs->user;
}

static void tell(struct jobs *jobs, const sbx_error *error) {
    while (jobs->waiters != NULL) {
        struct jobs_waiter *waiter = jobs->waiters;
        jobs->waiters = waiter->next;
        waiter->waits = false;
        waiter->known(waiter->ctx, error);
    }
}

static void who_done(void *ctx, const struct hub_reply *reply) {
    struct jobs *jobs = ctx;
    jobs->who = NULL;
    sbx_error error = reply->error;
    if (reply->status == SBX_OK) {
        struct json *value = json_parse(reply->body->data, reply->body->len);
        const char *name = json_string(value, "name");
        if (job_name_ok(name)) {
            snprintf(jobs->user, sizeof jobs->user, "%s", name);
        } else {
            error_set(&error, SBX_ERROR_PROTOCOL,
                      "asking who the token belongs to: the Hub's answer has no name");
        }
        json_free(value);
    }
    tell(jobs, jobs->user[0] != '\0' ? NULL : &error);
}

bool jobs_know(struct jobs *jobs, struct jobs_waiter *waiter) {
    if (jobs->user[0] != '\0') return true;
    waiter->waits = true;
    waiter->next = jobs->waiters;
    jobs->waiters = waiter;
    if (jobs->who != NULL) return false;
    sbx_error error;
    jobs->who = hub_call(&jobs->hub,
                         &(struct hub_call_spec){.method = "GET",
                                                 .log_route = "whoami-v2",
                                                 .what = "asking who the token belongs to",
                                                 .target = "/api/whoami-v2",
                                                 .repeatable = true,
                                                 .deadline = clock_deadline(JOBS_CALL_MS),
                                                 .done = who_done,
                                                 .ctx = jobs},
                         &error);
    if (jobs->who == NULL) tell(jobs, &error);
    return false;
}

void jobs_forget(struct jobs *jobs, struct jobs_waiter *waiter) {
    if (!waiter->waits) return;
    struct jobs_waiter **at = &jobs->waiters;
    while (*at != waiter)
        at = &(*at)->next;
    *at = waiter->next;
    waiter->waits = false;
    if (jobs->waiters != NULL) return;
    hub_call_cancel(jobs->who);
    jobs->who = NULL;
}

bool jobs_made_by_us(const struct jobs *jobs, const struct job *job) {
    if (testing_off("initiator")) return true;
    const char *maker = job->initiator[0] != '\0' ? job->initiator : job->owner;
    return jobs->user[0] != '\0' && strcmp(maker, jobs->user) == 0;
}

/* ---- What an op is about */

static void asking_ended(struct op *op, sbx_status status) {
    (void)status;
    hub_call_cancel(op->ctx);
}

void jobs_ask(struct op *op, const char *route, const char *what,
              void (*done)(void *, const struct hub_reply *)) {
    char target[256];
    sbx_error error;
    snprintf(target, sizeof target, "/api/%s", route);
    op->end = asking_ended;
    op->ctx = hub_call(&jobs_of(op->client)->hub,
                       &(struct hub_call_spec){.method = "GET",
                                               .name = op->name,
                                               .log_route = route,
                                               .what = what,
                                               .target = target,
                                               .repeatable = true,
                                               .deadline = op->deadline,
                                               .done = done,
                                               .ctx = op},
                       &error);
    if (op->ctx == NULL) op_fail(op, &error);
}

/* ---- Machines */

void jobs_free_secrets(char **secrets) {
    for (size_t i = 0; secrets != NULL && secrets[i] != NULL; i++) {
        explicit_bzero(secrets[i], strlen(secrets[i]));
        free(secrets[i]);
    }
    free(secrets);
}

struct job_machine *job_machine_new(struct jobs *jobs, const struct job *job, const char *hub_namespace) {
    struct job_machine *m = calloc(1, sizeof *m);
    if (m == NULL || !text_random_hex(16, m->session)) {
        free(m);
        return NULL;
    }
    m->jobs = jobs;
    m->job = *job;
    m->made_ms = clock_ms();
    snprintf(m->hub_namespace, sizeof m->hub_namespace, "%s", hub_namespace);
    m->next = jobs->machines;
    if (m->next != NULL) m->next->prev = m;
    jobs->machines = m;
    return m;
}

void job_machine_free(struct job_machine *m) {
    if (m->prev != NULL) {
        m->prev->next = m->next;
    } else {
        m->jobs->machines = m->next;
    }
    if (m->next != NULL) m->next->prev = m->prev;
    hub_call_cancel(m->doubt);
    for (size_t i = 0; m->port_urls != NULL && i < m->port_count; i++)
        free(m->port_urls[i]);
    free(m->port_urls);
    jobs_free_secrets(m->hide);
    free(m->ports);
    free(m->url);
    free(m);
}

void job_machine_ended(struct job_machine *m, const struct job *last) {
    if (m->ended) return;
    m->ended = true;
    if (m->made) telemetry_terminate(m->jobs->client, m->session, clock_ms() - m->made_ms, "user");
    if (m->sandbox == NULL) return;
    char message[sizeof last->message] = "";
    const char *const token[] = {m->jobs->hub.token, NULL};
    if (last != NULL) snprintf(message, sizeof message, "%s", last->message);
    hub_error_redact(message, m->hide != NULL ? (const char *const *)m->hide : token);
    sandbox_died(m->sandbox, "sandbox %s has ended: its job is %s%s%s", m->job.id,
                 last != NULL ? last->stage : "gone", message[0] != '\0' ? ": " : "", message);
}

static void doubt_done(void *ctx, const struct hub_reply *reply) {
    struct job_machine *m = ctx;
    m->doubt = NULL;
    bool refused = reply->http_status == 401 || reply->http_status == 403;
    if (refused && !testing_off("doubt-refused")) {
        m->refused = reply->error;
        m->refused_ms = clock_ms();
    }
    if (reply->status != SBX_OK) return; /* no news of the machine */
    m->refused_ms = 0;
    struct job job;
    struct json *value = json_parse(reply->body->data, reply->body->len);
    bool ok = reply->http_status != 404 && job_parse(&job, value);
    json_free(value);
    if (reply->http_status == 404) {
        job_machine_ended(m, NULL);
    } else if (ok && job.phase == JOB_ENDED) {
        job_machine_ended(m, &job);
    }
}

/* A call could not reach the agent: either the way there is bad, or the machine has ended. */
static void doubt(void *ctx) {
    struct job_machine *m = ctx;
    int64_t now = clock_ms();
    if (m->ended || m->doubt != NULL || (m->doubted_ms != 0 && now - m->doubted_ms < DOUBT_MS)) return;
    m->doubted_ms = now;
    char target[256];
    snprintf(target, sizeof target, "/api/jobs/%s/%s", m->hub_namespace, m->job.id);
    m->doubt = hub_call(&m->jobs->hub,
                        &(struct hub_call_spec){.method = "GET",
                                                .log_route = "jobs/:ns/:id",
                                                .what = "asking whether the job runs",
                                                .target = target,
                                                .repeatable = true,
                                                .accepts = 404,
                                                .deadline = clock_deadline(JOBS_CALL_MS),
                                                .done = doubt_done,
                                                .ctx = m},
                        NULL);
}

/* The Hub's proxy asks for the same token. */
static const sbx_error *why(void *ctx, int64_t since) {
    const struct job_machine *m = ctx;
    return m->refused_ms != 0 && m->refused_ms >= since - DOUBT_MS ? &m->refused : NULL;
}

struct sbx_sandbox *job_machine_sandbox(struct job_machine *m, struct endpoint *agent) {
    char id[JOB_ID_SIZE + JOB_NAME_SIZE];
    agent->trouble = doubt;
    agent->why = why;
    agent->trouble_ctx = m;
    /* Where the namespace goes without saying the id is the job's alone, as in the Hub's own client. */
    bool plain = strcmp(m->hub_namespace, jobs_namespace(m->jobs, NULL)) == 0;
    snprintf(id, sizeof id, "%s%s%s", plain ? "" : m->hub_namespace, plain ? "" : "/", m->job.id);
    struct sbx_sandbox *sandbox = sandbox_new(m->jobs->client, &provider_jobs, m, id, agent);
    if (sandbox == NULL) return NULL;
    sandbox->detached = !m->owned;
    m->sandbox = sandbox;
    return sandbox;
}
