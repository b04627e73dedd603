#include "client/job_end.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/json.h"
#include "client/log.h"
#include "client/parting.h"
#include "client/telemetry.h"
#include "util/clock.h"

#define CALL_MS    60000  /* one question goes on */
#define LIMIT_MS   600000 /* and everything: the job's idle timer ends what this could not */
#define AGAIN_MS   5000   /* after a cancel that failed */
#define LOOKS      9 /* after 0, 0.25, 0.75, 1.75, ... seconds: a request may be on its way for a while */
#define PATIENT    4 /* of them nobody's end waits for the later ones */
#define FIRST_LOOK 250

struct ending {
    struct jobs *jobs; /* its client is held by io_background */
    char hub_namespace[JOB_NAME_SIZE];
    char id[JOB_ID_SIZE]; /* "" = to be found by the nonce */
    char nonce[JOB_NONCE_SIZE];
    char used[JOB_ID_SIZE];         /* the job with that nonce that stays */
    struct hub_call *call, *making; /* making: the creation itself, whose answer may still come */
    struct io_timer timer, limit;
    unsigned looks;
    bool alone; /* no end of the client or the program waits for it */
};

static void look(void *ctx);

static void time_up(void *ctx);

static void say_unconfirmed(struct jobs *jobs, const char *id) {
    log_event(jobs->client, SBX_LOG_WARNING, "job.cancel_unconfirmed", "id", id, NULL);
}

/* id: for the log. */
static struct ending *begin(struct jobs *jobs, const char *hub_namespace, const char *id) {
    struct ending *e = calloc(1, sizeof *e);
    if (e == NULL || !parting_begin(jobs->client, PARTING_JOB)) {
        free(e);
        say_unconfirmed(jobs, id);
        return NULL;
    }
    client_hold(jobs->client);
    e->jobs = jobs;
    snprintf(e->hub_namespace, sizeof e->hub_namespace, "%s", hub_namespace);
    e->timer = (struct io_timer){.fire = look, .ctx = e};
    e->limit = (struct io_timer){.fire = time_up, .ctx = e};
    io_timer_set(&jobs->client->io, &e->limit,
                 clock_deadline(LIMIT_MS)); /* without it each call still has its end */
    return e;
}

static void end(struct ending *e) {
    struct sbx_client *client = e->jobs->client;
    bool alone = e->alone;
    hub_call_cancel(e->call);
    hub_call_cancel(e->making);
    io_timer_clear(&client->io, &e->timer);
    io_timer_clear(&client->io, &e->limit);
    free(e);
    if (!alone) parting_let_be(client, PARTING_JOB);
    parting_over(client);
    client_release_locked(client);
}

static void unconfirmed(struct ending *e) {
    say_unconfirmed(e->jobs, e->id);
    end(e);
}

static void time_up(void *ctx) {
    unconfirmed(ctx);
}

static void cancel(void *ctx);

static void cancel_again(struct ending *e, int64_t asked_ms) {
    int64_t pause = hub_jitter(&e->jobs->hub, 2 * AGAIN_MS);
    e->timer.fire = cancel;
    if (!io_timer_set(&e->jobs->client->io, &e->timer, clock_ms() + (asked_ms > pause ? asked_ms : pause)))
        unconfirmed(e);
}

static void checked(void *ctx, const struct hub_reply *reply) {
    struct ending *e = ctx;
    e->call = NULL;
    struct job job = {.phase = JOB_WAITS};
    struct json *value = reply->status == SBX_OK ? json_parse(reply->body->data, reply->body->len) : NULL;
    bool ended = reply->http_status == 404 || (job_parse(&job, value) && job.phase == JOB_ENDED);
    json_free(value);
    if (ended) {
        end(e);
    } else {
        cancel_again(e, reply->asked_ms);
    }
}

static void canceled(void *ctx, const struct hub_reply *reply);

static void ask(struct ending *e, const char *method, const char *what, const char *target,
                void (*done)(void *, const struct hub_reply *)) {
    e->call = hub_call(&e->jobs->hub,
                       &(struct hub_call_spec){.method = method,
                                               .log_route = done == canceled ? "jobs/:ns/:id/cancel" : "jobs",
                                               .what = what,
                                               .target = target,
                                               .repeatable = true,
                                               .urgent = true,
                                               .accepts = done == checked ? 404 : 0,
                                               .deadline = clock_deadline(CALL_MS),
                                               .done = done,
                                               .ctx = e},
                       NULL);
    if (e->call == NULL) unconfirmed(e);
}

static void canceled(void *ctx, const struct hub_reply *reply) {
    struct ending *e = ctx;
    e->call = NULL;
    int status = reply->http_status;
    if (reply->status == SBX_OK) {
        end(e);
    } else if (status == 401 || status == 403) {
        unconfirmed(e);
    } else if (status == 400 || status == 404 || status == 409 || status == 410) {
        /* It had ended already, or the Hub is not ready for that. */
        char target[256];
        snprintf(target, sizeof target, "/api/jobs/%s/%s", e->hub_namespace, e->id);
        ask(e, "GET", "asking whether the job has ended", target, checked);
    } else {
        cancel_again(e, reply->asked_ms);
    }
}

static void cancel(void *ctx) {
    struct ending *e = ctx;
    char target[256];
    snprintf(target, sizeof target, "/api/jobs/%s/%s/cancel", e->hub_namespace, e->id);
    ask(e, "POST", "canceling the job", target, canceled);
}

/* ---- One whose id is not known */

static void look_later(struct ending *e) {
    if (e->looks >= LOOKS) {
        if (e->making == NULL) end(e);
        return;
    }
    if (e->looks >= PATIENT && !e->alone) {
        e->alone = true;
        parting_let_be(e->jobs->client, PARTING_JOB);
    }
    int64_t ms = e->looks == 0 ? 0 : (int64_t)FIRST_LOOK << (e->looks - 1);
    if (!io_timer_set(&e->jobs->client->io, &e->timer, clock_ms() + hub_jitter(&e->jobs->hub, ms)))
        unconfirmed(e);
}

static void looked(void *ctx, const struct hub_reply *reply) {
    struct ending *e = ctx;
    e->call = NULL;
    struct json *list = reply->status == SBX_OK ? json_parse(reply->body->data, reply->body->len) : NULL;
    struct job job = {0};
    for (const struct json *item = json_first(list); item != NULL; item = json_next(item)) {
        bool other = job_parse(&job, item) && strcmp(job.nonce, e->nonce) == 0;
        if (!other || strcmp(job.id, e->used) == 0) continue;
        if (e->id[0] != '\0') job_end_id(e->jobs, e->hub_namespace, job.id);
        if (e->id[0] == '\0') snprintf(e->id, sizeof e->id, "%s", job.id);
    }
    json_free(list);
    if (e->id[0] == '\0') {
        look_later(e);
        return;
    }
    hub_call_cancel(e->making);
    e->making = NULL;
    cancel(e);
}

static void look(void *ctx) {
    struct ending *e = ctx;
    char target[512];
    e->looks++;
    snprintf(target, sizeof target, "/api/jobs/%s?" JOB_LIVING "&label=" JOB_LABEL_NONCE "%%3D%s",
             e->hub_namespace, e->nonce);
    ask(e, "GET", "looking for the job", target, looked);
}

static void created(void *ctx, const struct hub_reply *reply) {
    struct ending *e = ctx;
    e->making = NULL;
    struct job job;
    struct json *value = reply->status == SBX_OK ? json_parse(reply->body->data, reply->body->len) : NULL;
    bool known = job_parse(&job, value);
    json_free(value);
    if (known) {
        io_timer_clear(&e->jobs->client->io, &e->timer);
        hub_call_cancel(e->call);
        snprintf(e->id, sizeof e->id, "%s", job.id);
        cancel(e);
    } else if ((reply->status != SBX_OK && !reply->unsure) || (e->call == NULL && e->looks >= LOOKS)) {
        end(e);
    } /* else what it may have made is being looked for */
}

void job_end_creation(struct jobs *jobs, const char *hub_namespace, const char *nonce, const char *used,
                      struct hub_call *call) {
    struct ending *e = begin(jobs, hub_namespace, "");
    if (e == NULL) {
        hub_call_cancel(call);
        return;
    }
    snprintf(e->nonce, sizeof e->nonce, "%s", nonce);
    snprintf(e->used, sizeof e->used, "%s", used);
    e->making = call;
    if (call != NULL) hub_call_take(call, created, e);
    look_later(e); /* the answer may never come */
}

void job_end_id(struct jobs *jobs, const char *hub_namespace, const char *id) {
    struct ending *e = begin(jobs, hub_namespace, id);
    if (e == NULL) return;
    snprintf(e->id, sizeof e->id, "%s", id);
    cancel(e);
}

void job_end_machine(struct job_machine *m, const char *reason) {
    if (m->ended) return;
    m->ended = true;
    if (m->made) telemetry_terminate(m->jobs->client, m->session, clock_ms() - m->made_ms, reason);
    job_end_id(m->jobs, m->hub_namespace, m->job.id);
}
