#include "client/provider.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/job_create.h"
#include "client/job_end.h"
#include "client/job_list.h"
#include "client/job_wait.h"
#include "client/json.h"
#include "client/shared_find.h"
#include "util/clock.h"
#include "wire/names.h"

#define CONFIRM_FIRST 100 /* milliseconds between two questions whether a canceled job has ended */
#define CONFIRM_MOST  1000

/* ------------------------------------------------------------ Connect, and kill by an id */

struct finding {
    struct op *op;
    struct jobs *jobs;
    struct jobs_waiter who;
    struct hub_call *call;
    char hub_namespace[JOB_NAME_SIZE];
    char id[JOB_ID_SIZE];
    struct job_machine *machine;
    struct job_wait wait;
    sbx_timings timings;
};

static void finding_ended(struct op *op, sbx_status status) {
    struct finding *f = op->ctx;
    jobs_forget(f->jobs, &f->who);
    hub_call_cancel(f->call);
    job_wait_stop(&f->wait);
    if (status != SBX_OK && f->machine != NULL && f->machine->sandbox == NULL) job_machine_free(f->machine);
    free(f);
}

static void finding_doing(const struct op *op, char *out, size_t room) {
    const struct finding *f = op->ctx;
    if (f->machine != NULL) job_wait_doing(f->machine, out, room);
}

static void ready(void *ctx, struct endpoint *agent) {
    struct finding *f = ctx;
    struct op *op = f->op;
    bool ours = agent->features != 0;
    struct sbx_sandbox *sandbox = job_machine_sandbox(f->machine, agent);
    if (sandbox == NULL) {
        op_fail_memory(op);
        return;
    }
    sandbox->timings = f->timings;
    if (ours) {
        op->out.sandbox = sandbox;
        op_done(op, SBX_OK);
        return;
    }
    /* The probe has the op to itself. */
    op->doing = NULL;
    finding_ended(op, SBX_OK);
    sandbox_endpoint_probe(op, sandbox);
}

static void not_ready(void *ctx, const sbx_error *error) {
    struct finding *f = ctx;
    if (f->machine->job.phase == JOB_ENDED) {
        op_failf(f->op, SBX_ERROR_NOT_FOUND, "%s: sandbox %s has ended: its job is %s", f->op->name, f->id,
                 f->machine->job.stage);
    } else {
        op_fail(f->op, error);
    }
}

static const char *why_not(const struct job *job) {
    if (!job->sandbox) return "is no sandbox: it has no label " JOB_LABEL;
    if (job->pool) return "is a host of a pool, not a sandbox: connect to the pool";
    if (job->nonce[0] == '\0') return "has no label " JOB_LABEL_NONCE ", which its key is made of";
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
    if (reply->http_status == 404) {
        op_failf(op, SBX_ERROR_NOT_FOUND, "%s: there is no job %s in namespace %s", op->name, f->id, owner);
        return;
    }
    struct job job;
    struct json *value = json_parse(reply->body->data, reply->body->len);
    bool ok = job_parse(&job, value) && strcmp(job.id, f->id) == 0, foreign = false;
    const char *bad = ok ? why_not(&job) : NULL;
    sbx_error error = {.code = SBX_OK};
    if (!ok) {
        error_set(&error, SBX_ERROR_PROTOCOL, "%s: the Hub's answer describes no job %s", op->name, f->id);
    } else if (bad != NULL) {
        error_set(&error, SBX_ERROR_INVALID, "%s: job %s %s", op->name, f->id, bad);
    } else if (!jobs_made_by_us(f->jobs, &job)) {
        error_set(&error, SBX_ERROR_DENIED,
                  "%s: sandbox %s was made by '%s': only the Hub token that made it opens it", op->name,
                  f->id, job.initiator[0] != '\0' ? job.initiator : job.owner);
    } else if (job.phase == JOB_ENDED) {
        error_set(&error, SBX_ERROR_NOT_FOUND, "%s: sandbox %s has ended: its job is %s", op->name, f->id,
                  job.stage);
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
    const struct hub_call_spec spec = {.method = "GET",
                                       .name = f->op->name,
                                       .log_route = "jobs/:ns/:id",
                                       .what = "asking about the job",
                                       .target = target,
                                       .repeatable = true,
                                       .accepts = 404,
                                       .deadline = f->op->deadline,
                                       .done = inspected,
                                       .ctx = f};
    f->call = hub_call(&f->jobs->hub, &spec, &error);
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

static void connect_by_id(struct op *op, const char *id) {
    if (strchr(id, '.') != NULL) {
        shared_find_connect(op, id);
        return;
    }
    struct finding *f = calloc(1, sizeof *f);
    if (f == NULL) {
        op_fail_memory(op);
        return;
    }
    f->op = op;
    f->jobs = jobs_of(op->client);
    f->who = (struct jobs_waiter){.known = known, .ctx = f};
    f->timings = (sbx_timings){sizeof f->timings, -1, -1, -1};
    op->ctx = f;
    op->end = finding_ended;
    op->doing = finding_doing;
    sbx_error error;
    if (job_split_id(id, f->hub_namespace, f->id, &error) != SBX_OK) {
        op_fail(op, &error);
    } else if (jobs_know(f->jobs, &f->who)) {
        inspect(f);
    }
}

/* ------------------------------------------------------------ Kill */

struct killing {
    struct op *op;
    struct jobs *jobs;
    struct sbx_sandbox *sandbox; /* NULL: by its id */
    struct jobs_waiter who;
    char hub_namespace[JOB_NAME_SIZE];
    char id[JOB_ID_SIZE];
    struct hub_call *call;
    struct io_timer timer;
    int64_t pause;
    bool asked;
    sbx_error refused; /* what canceling brought, if it failed */
};

static void look(void *ctx);

static void killing_ended(struct op *op, sbx_status status) {
    struct killing *k = op->ctx;
    (void)status;
    jobs_forget(k->jobs, &k->who);
    hub_call_cancel(k->call);
    io_timer_clear(&op->client->io, &k->timer);
    free(k);
}

static void killing_doing(const struct op *op, char *out, size_t room) {
    const struct killing *k = op->ctx;
    snprintf(out, room, "job %s %s", k->id,
             k->asked ? "was asked to end and has not ended yet" : "could not be asked to end");
}

static void kill_failed(struct killing *k, const sbx_error *why) {
    sbx_error error;
    error_set(&error, why->code, "%s: job %s: %s", k->op->name, k->id, why->message);
    error.http_status = why->http_status;
    error.system_errno = why->system_errno;
    op_fail(k->op, &error);
}

/* gone: the Hub knows it no more. */
static void confirmed(struct killing *k, bool gone) {
    struct op *op = k->op;
    struct job_machine *m = k->sandbox != NULL ? k->sandbox->machine : NULL;
    if (m != NULL) {
        struct sbx_sandbox *sandbox = k->sandbox;
        sandbox_hold(sandbox);
        op_done(op, SBX_OK);
        job_machine_ended(m, gone ? NULL : &m->job);
        sandbox_release(sandbox);
    } else {
        op_done(op, SBX_OK);
    }
}

static void looked(void *ctx, const struct hub_reply *reply) {
    struct killing *k = ctx;
    k->call = NULL;
    struct job job;
    struct json *value = reply->status == SBX_OK ? json_parse(reply->body->data, reply->body->len) : NULL;
    bool ended = reply->http_status == 404 || (job_parse(&job, value) && job.phase == JOB_ENDED);
    if (ended && value != NULL && reply->http_status != 404 && k->sandbox != NULL) {
        struct job_machine *m = k->sandbox->machine;
        memcpy(m->job.stage, job.stage, sizeof job.stage);
        memcpy(m->job.message, job.message, sizeof job.message);
    }
    json_free(value);
    if (ended) {
        confirmed(k, reply->http_status == 404);
    } else if (reply->status != SBX_OK) {
        kill_failed(k, &reply->error);
    } else if (k->refused.code != SBX_OK) {
        kill_failed(k, &k->refused);
    } else {
        k->pause = k->pause * 3 / 2 < CONFIRM_MOST ? k->pause * 3 / 2 : CONFIRM_MOST;
        if (!io_timer_set(&k->op->client->io, &k->timer, clock_ms() + k->pause)) op_fail_memory(k->op);
    }
}

static void ask(struct killing *k, const char *method, const char *end, const char *what, const char *route,
                int accepts, void (*done)(void *, const struct hub_reply *)) {
    sbx_error error;
    char target[256];
    snprintf(target, sizeof target, "/api/jobs/%s/%s%s", jobs_namespace(k->jobs, k->hub_namespace), k->id,
             end);
    const struct hub_call_spec spec = {.method = method,
                                       .log_route = route,
                                       .what = what,
                                       .target = target,
                                       .repeatable = true,
                                       .accepts = accepts,
                                       .deadline = k->op->deadline,
                                       .done = done,
                                       .ctx = k};
    k->call = hub_call(&k->jobs->hub, &spec, &error);
    if (k->call == NULL) op_fail(k->op, &error);
}

static void look(void *ctx) {
    ask(ctx, "GET", "", "asking whether the job has ended", "jobs/:ns/:id", 404, looked);
}

static void canceled(void *ctx, const struct hub_reply *reply) {
    struct killing *k = ctx;
    k->call = NULL;
    if (reply->http_status == 404 && k->sandbox == NULL) {
        op_failf(k->op, SBX_ERROR_NOT_FOUND, "%s: there is no job %s in namespace %s", k->op->name, k->id,
                 jobs_namespace(k->jobs, k->hub_namespace));
    } else if (reply->http_status == 404) {
        confirmed(k, true);
    } else if (reply->status == SBX_OK) {
        k->asked = true;
        look(k);
    } else if (reply->http_status == 0 || reply->http_status == 401 || reply->http_status == 403 ||
               reply->http_status >= 429) {
        kill_failed(k, &reply->error);
    } else {
        k->refused = reply->error; /* perhaps because it has ended */
        look(k);
    }
}

/* Only a sandbox is canceled by its id, and only one that lives. */
static void cancel(struct killing *k);

static void found(void *ctx, const struct hub_reply *reply) {
    struct killing *k = ctx;
    struct job job = {0};
    k->call = NULL;
    if (reply->status != SBX_OK) {
        kill_failed(k, &reply->error);
        return;
    }
    struct json *value = json_parse(reply->body->data, reply->body->len);
    bool known = reply->http_status != 404 && job_parse(&job, value);
    json_free(value);
    if (!known) {
        op_failf(k->op, SBX_ERROR_NOT_FOUND, "%s: there is no job %s in namespace %s", k->op->name, k->id,
                 jobs_namespace(k->jobs, k->hub_namespace));
    } else if (job.sandbox && job.pool) {
        op_failf(k->op, SBX_ERROR_NOT_FOUND, "%s: job %s is a host of a pool, not a sandbox", k->op->name,
                 k->id);
    } else if (!job.sandbox) {
        op_failf(k->op, SBX_ERROR_NOT_FOUND, "%s: job %s is no sandbox: it has no label " JOB_LABEL,
                 k->op->name, k->id);
    } else if (job.phase == JOB_ENDED) {
        op_failf(k->op, SBX_ERROR_NOT_FOUND, "%s: sandbox %s has ended: its job is %s", k->op->name, k->id,
                 job.stage);
    } else {
        cancel(k);
    }
}

static void find(struct killing *k) {
    ask(k, "GET", "", "asking about it", "jobs/:ns/:id", 404, found);
}

static void cancel(struct killing *k) {
    ask(k, "POST", "/cancel", "canceling the job", "jobs/:ns/:id/cancel", 404, canceled);
}

static void kill_known(void *ctx, const sbx_error *error) {
    struct killing *k = ctx;
    if (error != NULL) {
        op_fail(k->op, error);
    } else {
        find(k);
    }
}

static struct killing *killing_begin(struct op *op) {
    struct killing *k = calloc(1, sizeof *k);
    if (k == NULL) {
        op_fail_memory(op);
        return NULL;
    }
    k->op = op;
    k->jobs = jobs_of(op->client);
    k->who = (struct jobs_waiter){.known = kill_known, .ctx = k};
    k->timer = (struct io_timer){.fire = look, .ctx = k};
    k->pause = CONFIRM_FIRST;
    op->ctx = k;
    op->end = killing_ended;
    op->doing = killing_doing;
    return k;
}

static void kill_sandbox(struct op *op, struct sbx_sandbox *sandbox) {
    struct job_machine *m = sandbox->machine;
    if (m->ended) {
        op_done(op, SBX_OK);
        return;
    }
    struct killing *k = killing_begin(op);
    if (k == NULL) return;
    k->sandbox = sandbox;
    memcpy(k->hub_namespace, m->hub_namespace, sizeof k->hub_namespace);
    memcpy(k->id, m->job.id, sizeof k->id);
    cancel(k);
}

static void kill_by_id(struct op *op, const char *id) {
    if (strchr(id, '.') != NULL) {
        shared_find_kill(op, id);
        return;
    }
    struct killing *k = killing_begin(op);
    sbx_error error;
    if (k == NULL) return;
    if (job_split_id(id, k->hub_namespace, k->id, &error) != SBX_OK) {
        op_fail(op, &error);
    } else if (!jobs_needs_user(k->jobs, k->hub_namespace) || jobs_know(k->jobs, &k->who)) {
        find(k);
    }
}

static void close_sandbox(struct sbx_sandbox *sandbox) {
    struct job_machine *m = sandbox->machine;
    sandbox->machine = NULL;
    m->sandbox = NULL;
    if (m->owned) job_end_machine(m, "user");
    job_machine_free(m);
}

static void describe(const struct sbx_sandbox *sandbox, struct buf *out) {
    const struct job_machine *m = sandbox->machine;
    const char *const members[][2] = {
        {"namespace", m->hub_namespace}, {"image", m->job.image}, {"flavor", m->job.flavor}};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        buf_printf(out, ",\"%s\":", members[i][0]);
        json_put_text(out, members[i][1]);
    }
}

const struct provider provider_jobs = {
    .name = "jobs",
    .client_new = jobs_new,
    .client_free = jobs_free,
    .create = job_create,
    .connect = connect_by_id,
    .kill = kill_sandbox,
    .kill_by_id = kill_by_id,
    .close = close_sandbox,
    .describe = describe,
    .list = job_list,
    .reap = job_list_reap,
};
