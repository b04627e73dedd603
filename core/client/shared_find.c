#include "client/shared_find.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/job_wait.h"
#include "client/json.h"
#include "client/pool.h"
#include "client/shared.h"
#include "util/clock.h"
#include "wire/names.h"

struct finding {
    struct op *op;
    struct jobs *jobs;
    bool kills;
    struct jobs_waiter who;
    char hub_namespace[JOB_NAME_SIZE], id[JOB_ID_SIZE], name[SHARED_NAME_SIZE];
    struct hub_call *call;
    struct job_machine *machine; /* until it has a host */
    struct job_wait wait;
    sbx_timings timings;
    struct host *host; /* held */
    struct host_call *asked;
};

static void finding_ended(struct op *op, sbx_status status) {
    struct finding *f = op->ctx;
    (void)status;
    jobs_forget(f->jobs, &f->who);
    hub_call_cancel(f->call);
    job_wait_stop(&f->wait);
    host_call_cancel(f->asked);
    if (f->machine != NULL) job_machine_free(f->machine);
    host_release(f->host);
    free(f);
}

static void finding_doing(const struct op *op, char *out, size_t room) {
    const struct finding *f = op->ctx;
    if (f->machine != NULL) job_wait_doing(f->machine, out, room);
}

static void fail(struct finding *f, const sbx_error *why) {
    sbx_error error;
    error_set(&error, why->code, "%s: host %s: %s", f->op->name, f->id, why->message);
    error.http_status = why->http_status;
    op_fail(f->op, &error);
}

static void not_there(struct finding *f) {
    op_failf(f->op, SBX_ERROR_NOT_FOUND, "%s: host %s has no sandbox %s: it has ended", f->op->name, f->id,
             f->name);
}

/* ---- At the host */

static void give(struct finding *f, const struct shared_item *item) {
    struct op *op = f->op;
    bool plain = f->hub_namespace[0] == '\0' || strcmp(f->hub_namespace, jobs_namespace(f->jobs, NULL)) == 0;
    struct sbx_sandbox *sandbox = shared_new(f->host, item, plain, false);
    if (sandbox == NULL) {
        op_fail_memory(op);
        return;
    }
    sandbox->timings = f->timings;
    sandbox->timings.answered_ms = clock_ms() - op->begun_ms;
    op->out.sandbox = sandbox;
    op_done(op, SBX_OK);
}

static void got_token(void *ctx, const struct host_reply *reply) {
    struct finding *f = ctx;
    f->asked = NULL;
    struct shared_item item;
    struct json *value = reply->status == SBX_OK ? json_parse(reply->body->data, reply->body->len) : NULL;
    bool ok = shared_parse(&item, value) && strcmp(item.name, f->name) == 0 && item.token[0] != '\0';
    json_free(value);
    if (reply->http_status == 404) {
        not_there(f);
    } else if (reply->status != SBX_OK) {
        fail(f, &reply->error);
    } else if (!ok) {
        op_failf(f->op, SBX_ERROR_PROTOCOL, "%s: the answer of host %s names no key of sandbox %s",
                 f->op->name, f->id, f->name);
    } else {
        give(f, &item);
    }
    explicit_bzero(&item, sizeof item);
}

/* The Hub's own agent has one key for all. */
static void got_list(void *ctx, const struct host_reply *reply) {
    struct finding *f = ctx;
    f->asked = NULL;
    struct shared_item item = {0};
    bool found = false;
    struct json *list = reply->status == SBX_OK ? json_parse(reply->body->data, reply->body->len) : NULL;
    for (const struct json *each = json_first(list); each != NULL && !found; each = json_next(each))
        found = shared_parse(&item, each) && strcmp(item.name, f->name) == 0;
    json_free(list);
    if (reply->status != SBX_OK) {
        fail(f, &reply->error);
    } else if (!found) {
        not_there(f);
    } else {
        give(f, &item);
    }
}

static void killed(void *ctx, const struct host_reply *reply) {
    struct finding *f = ctx;
    f->asked = NULL;
    if (reply->http_status == 404) {
        not_there(f);
    } else if (reply->status != SBX_OK && !reply->dead) {
        fail(f, &reply->error);
    } else {
        struct host *host = f->host;
        char name[SHARED_NAME_SIZE];
        memcpy(name, f->name, sizeof name);
        host_hold(host);
        op_done(f->op, SBX_OK);
        shared_ended(host, name);
        host_release(host);
    }
}

static void ask(struct finding *f) {
    char target[SHARED_NAME_SIZE + 32];
    bool keys = host_honours_keys(f->host);
    struct host_call_spec spec = {.method = "GET",
                                  .log_route = "sandboxes/:id/token",
                                  .what = "asking for the sandbox",
                                  .target = target,
                                  .repeatable = true,
                                  .accepts = 404,
                                  .deadline = f->op->deadline,
                                  .done = got_token,
                                  .ctx = f};
    snprintf(target, sizeof target, "/v1/sandboxes/%s/token", f->name);
    if (f->kills) {
        snprintf(target, sizeof target, "/v1/sandboxes/%s", f->name);
        spec.method = "DELETE";
        spec.log_route = "sandboxes/:id";
        spec.what = "ending the sandbox";
        spec.done = killed;
    } else if (!keys) {
        snprintf(target, sizeof target, "/v1/sandboxes");
        spec.log_route = "sandboxes";
        spec.accepts = 0;
        spec.done = got_list;
    }
    f->asked = host_call(f->host, &spec);
    if (f->asked == NULL) op_fail_memory(f->op);
}

/* ---- To the host */

static void ready(void *ctx, struct endpoint *agent) {
    struct finding *f = ctx;
    struct sbx_sandbox *handle = job_machine_sandbox(f->machine, agent);
    if (handle != NULL) {
        f->machine = NULL;
        f->host = host_new(f->jobs, handle);
    }
    if (f->host == NULL) {
        op_fail_memory(f->op);
    } else {
        ask(f);
    }
}

static void not_ready(void *ctx, const sbx_error *error) {
    struct finding *f = ctx;
    if (f->machine->job.phase == JOB_ENDED) {
        op_failf(f->op, SBX_ERROR_NOT_FOUND, "%s: sandbox %s.%s has ended: its host's job is %s", f->op->name,
                 f->id, f->name, f->machine->job.stage);
    } else {
        op_fail(f->op, error);
    }
}

static const char *why_not(const struct finding *f, const struct job *job) {
    if (!job->sandbox || !job->pool) return "is no host of a pool";
    if (job->nonce[0] == '\0') return "has no label " JOB_LABEL_NONCE ", which its key is made of";
    if (!jobs_made_by_us(f->jobs, job))
        return "was made by another user: only the Hub token that made it opens it";
    return NULL;
}

static void inspected(void *ctx, const struct hub_reply *reply) {
    struct finding *f = ctx;
    struct op *op = f->op;
    f->call = NULL;
    if (reply->status != SBX_OK) {
        op_fail(op, &reply->error);
        return;
    }
    const char *owner = jobs_namespace(f->jobs, f->hub_namespace);
    struct job job;
    struct json *value = json_parse(reply->body->data, reply->body->len);
    bool known = reply->http_status != 404 && job_parse(&job, value) && strcmp(job.id, f->id) == 0,
         foreign = false;
    const char *bad = known ? why_not(f, &job) : NULL;
    sbx_error error = {.code = SBX_OK};
    if (!known) {
        error_set(&error, SBX_ERROR_NOT_FOUND, "%s: there is no job %s in namespace %s", op->name, f->id,
                  owner);
    } else if (bad != NULL) {
        error_set(&error, strstr(bad, "another user") != NULL ? SBX_ERROR_DENIED : SBX_ERROR_INVALID,
                  "%s: job %s %s", op->name, f->id, bad);
    } else if (job.phase == JOB_ENDED) {
        error_set(&error, SBX_ERROR_NOT_FOUND, "%s: sandbox %s.%s has ended: its host's job is %s", op->name,
                  f->id, f->name, job.stage);
    } else if ((f->machine = job_machine_new(f->jobs, &job, owner)) == NULL) {
        error_memory(&error);
    } else {
        f->machine->url = job_port_url(value, job.id, WIRE_PORT, f->jobs->hub.endpoint.url, &foreign);
        if (f->machine->url == NULL)
            error_set(&error, SBX_ERROR_PROTOCOL, "%s: the Hub names %s address for job %s", op->name,
                      foreign ? "a foreign" : "no", f->id);
    }
    json_free(value);
    f->wait = (struct job_wait){.jobs = f->jobs,
                                .machine = f->machine,
                                .name = op->name,
                                .begun_ms = op->begun_ms,
                                .deadline = op->deadline,
                                .ready = ready,
                                .failed = not_ready,
                                .ctx = f,
                                .timings = &f->timings};
    if (error.code != SBX_OK || !job_wait_begin(&f->wait, &error)) op_fail(op, &error);
}

static void inspect(struct finding *f) {
    sbx_error error;
    char target[256];
    snprintf(target, sizeof target, "/api/jobs/%s/%s", jobs_namespace(f->jobs, f->hub_namespace), f->id);
    f->call = hub_call(&f->jobs->hub,
                       &(struct hub_call_spec){.method = "GET",
                                               .name = f->op->name,
                                               .log_route = "jobs/:ns/:id",
                                               .what = "asking about the host",
                                               .target = target,
                                               .repeatable = true,
                                               .accepts = 404,
                                               .deadline = f->op->deadline,
                                               .done = inspected,
                                               .ctx = f},
                       &error);
    if (f->call == NULL) op_fail(f->op, &error);
}

static void known(void *ctx, const sbx_error *error) {
    struct finding *f = ctx;
    if (error != NULL) {
        op_fail(f->op, error);
    } else {
        inspect(f);
    }
}

/* One that a pool of this client uses is at hand. */
static struct host *at_hand(const struct finding *f) {
    for (struct sbx_pool *pool = f->jobs->pools; pool != NULL; pool = pool->next) {
        struct pool_host *ph = pool_host_find(pool, f->id);
        if (ph == NULL || ph->host == NULL || host_dead(ph->host) || !ph->place.ready) continue;
        const char *ns = ph->host->machine->hub_namespace;
        if (f->hub_namespace[0] == '\0' ? pool_plain(pool) : strcmp(ns, f->hub_namespace) == 0)
            return ph->host;
    }
    return NULL;
}

static void find(struct op *op, const char *id, bool kills) {
    char host[200];
    sbx_error error;
    struct finding *f = calloc(1, sizeof *f);
    if (f == NULL) {
        op_fail_memory(op);
        return;
    }
    f->op = op;
    f->jobs = jobs_of(op->client);
    f->kills = kills;
    f->who = (struct jobs_waiter){.known = known, .ctx = f};
    f->timings = (sbx_timings){sizeof f->timings, -1, -1, -1};
    op->ctx = f;
    op->end = finding_ended;
    op->doing = finding_doing;
    if (!shared_split_id(id, host, f->name)) {
        op_failf(op, SBX_ERROR_INVALID,
                 "%s: '%.80s' is no id of a sandbox: those of pools look like HOST.NAME", op->name, id);
    } else if (job_split_id(host, f->hub_namespace, f->id, &error) != SBX_OK) {
        op_fail(op, &error);
    } else if ((f->host = at_hand(f)) != NULL) {
        host_hold(f->host);
        ask(f);
    } else if (jobs_know(f->jobs, &f->who)) {
        inspect(f);
    }
}

void shared_find_connect(struct op *op, const char *id) {
    find(op, id, false);
}

void shared_find_kill(struct op *op, const char *id) {
    find(op, id, true);
}
