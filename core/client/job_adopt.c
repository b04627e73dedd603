#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/job_creation.h"
#include "client/job_end.h"
#include "client/job_start.h"
#include "client/json.h"
#include "client/log.h"
#include "client/telemetry.h"
#include "util/clock.h"
#include "util/testing.h"
#include "util/text.h"
#include "wire/names.h"

#define REPLACED_MAX 3

/* ---- Ready */

/* It is ours only when its agent takes our token. */
static void checked_token(struct op *op, sbx_status status) {
    struct sbx_sandbox *sandbox = op->ctx;
    struct job_machine *m = sandbox->machine;
    m->owned = status == SBX_OK && !sandbox->detached;
    if (status != SBX_OK) sandbox_release(sandbox);
}

static void ready(void *ctx, struct endpoint *agent) {
    struct creation *c = ctx;
    struct op *op = c->op;
    bool other = !c->machine->made && agent->features == 0;
    struct sbx_sandbox *sandbox = job_machine_sandbox(c->machine, agent);
    if (sandbox == NULL) {
        op_fail_memory(op);
        return;
    }
    c->machine->hide = c->hide;
    c->hide = NULL;
    sandbox->timings = c->timings;
    if (c->host.pool == NULL)
        log_event(op->client, SBX_LOG_INFO, "sandbox.created", "id", sandbox->id, "provider", "jobs", NULL);
    if (other && !testing_off("key-token")) {
        /* Somebody else's with our key, or the Hub's own agent. The probe has the op to itself. */
        c->machine->owned = false;
        op->end = NULL;
        op->doing = NULL;
        creation_release(c, SBX_OK);
        sandbox_endpoint_probe(op, sandbox);
        if (!op->ended) op->end = checked_token;
        return;
    }
    op->out.sandbox = sandbox;
    op_done(op, SBX_OK);
}

static void start_again(struct creation *c) {
    struct job_machine *m = c->machine;
    log_event(c->op->client, SBX_LOG_WARNING, "sandbox.retried", "id", m->job.id, "reason",
              "the image cannot start the agent", NULL);
    c->machine = NULL;
    m->ended = false;
    job_machine_ended(m, &m->job); /* as telemetry counts */
    job_machine_free(m);
    c->timings.accepted_ms = c->timings.running_ms = -1;
    c->hub_agent = true;
    c->posts = c->looks = 0;
    creation_post(c);
}

/* Of what job_start.sh says, and the Hub of its exit codes: another agent may do better. */
static bool cannot_start(const char *text) {
    static const char *const words[] = {"hfsandbox: the image has no", "hfsandbox: the agent is for"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strstr(text, words[i]) != NULL) return true;
    }
    const char *code = text_after(text, "exit code: ");
    uint64_t number = code != NULL ? text_number(code) : 0;
    return number == JOB_START_NO_TOOL || number == JOB_START_OTHER_MACHINE;
}

static void not_ready(void *ctx, const sbx_error *error) {
    struct creation *c = ctx;
    struct job_machine *m = c->machine;
    if (m->job.phase == JOB_ENDED) {
        m->ended = true;
        if (!m->made && c->replaced++ < REPLACED_MAX) {
            /* The sandbox that our key had was about to end. */
            c->machine = NULL;
            job_machine_free(m);
            creation_seek_key(c);
            return;
        }
        if (!c->hub_agent && cannot_start(error->message)) {
            start_again(c);
            return;
        }
    }
    creation_fail(c, error);
}

static void wait_for_it(struct creation *c) {
    sbx_error error;
    c->wait = (struct job_wait){.jobs = c->jobs,
                                .machine = c->machine,
                                .name = c->op->name,
                                .begun_ms = c->op->begun_ms,
                                .deadline = c->op->deadline,
                                .secrets = (const char *const *)c->hide,
                                .ready = ready,
                                .failed = not_ready,
                                .ctx = c,
                                .timings = &c->timings};
    if (!job_wait_begin(&c->wait, &error)) creation_fail(c, &error);
}

/* ---- Made */

static bool take_urls(struct creation *c, const struct json *value) {
    struct job_machine *m = c->machine;
    const char *hub = c->jobs->hub.endpoint.url;
    bool foreign = false;
    m->url = job_port_url(value, m->job.id, WIRE_PORT, hub, &foreign);
    m->ports = calloc(c->port_count + 1, sizeof *m->ports);
    m->port_urls = calloc(c->port_count + 1, sizeof *m->port_urls);
    for (size_t i = 0; m->ports != NULL && m->port_urls != NULL && i < c->port_count; i++) {
        m->ports[i] = c->ports[i];
        m->port_urls[i] = job_port_url(value, m->job.id, c->ports[i], hub, &foreign);
        m->port_count = i + 1;
    }
    if (m->url != NULL && m->ports != NULL && m->port_urls != NULL) return true;
    op_failf(c->op, SBX_ERROR_PROTOCOL, "%s: the Hub has made job %s and %s; it was canceled", c->op->name,
             m->job.id,
             foreign ? "named an address for it that is not its own, which gets no token"
                     : "named no address for its port");
    return false;
}

/* The job that is ours. made: by this call, so that another one with our key may have been made at the same
 * time. */
void creation_adopt(struct creation *c, const struct job *job, const struct json *value, bool made) {
    const char *owner = jobs_namespace(c->jobs, c->hub_namespace);
    struct job_machine *m = job_machine_new(c->jobs, job, owner);
    if (m == NULL) {
        job_end_id(c->jobs, owner, job->id);
        op_fail_memory(c->op);
        return;
    }
    c->machine = m;
    m->owned = !c->detached;
    m->made = made;
    c->timings.accepted_ms = clock_ms() - c->op->begun_ms;
    char ms[24];
    snprintf(ms, sizeof ms, "%lld", (long long)c->timings.accepted_ms);
    log_event(c->op->client, SBX_LOG_INFO, "sandbox.progress", "id", job->id, "phase", "accepted", "stage",
              job->stage, "ms", ms, NULL);
    if (c->host.accepted != NULL) c->host.accepted(c->host.ctx, job);
    if (made) telemetry_create(c->op->client, m->session, c->flavor, c->lifetime_s, c->forward);
    if (!take_urls(c, value)) return;
    if (made && c->key[0] != '\0') {
        creation_seek_key(c);
    } else {
        wait_for_it(c);
    }
}

/* ---- One key, one sandbox */

/* Of those with our key the oldest one that lives. */
static bool oldest(const struct creation *c, const struct json *list, struct job *out,
                   const struct json **value) {
    bool any = false;
    for (const struct json *item = json_first(list); item != NULL; item = json_next(item)) {
        struct job job;
        bool living = job_parse(&job, item) && job.phase != JOB_ENDED && job.nonce[0] != '\0';
        if (!living || !jobs_made_by_us(c->jobs, &job)) continue;
        bool ours = job.sandbox && !job.pool && strcmp(job.key, c->key) == 0;
        if (!ours && !testing_off("answer-labels")) continue;
        bool older = !any || job.created_ms < out->created_ms ||
                     (job.created_ms == out->created_ms && strcmp(job.id, out->id) < 0);
        if (!older) continue;
        *out = job;
        *value = item;
        any = true;
    }
    return any;
}

/* What is asked for must be what the key's sandbox is. */
static bool fits(struct creation *c, const struct job *job) {
    bool image = strcmp(c->image, job->image) == 0;
    if (image && strcmp(c->flavor, job->flavor) == 0) return true;
    op_failf(c->op, SBX_ERROR_CONFLICT,
             "%s: the sandbox of client_key '%s', %s, has %s %s: give another key, or none", c->op->name,
             c->key, job->id, image ? "flavor" : "image", image ? job->flavor : job->image);
    return false;
}

/* Before a job is made (no machine): is there one already? Afterwards: was somebody faster? */
static void answered_key(void *ctx, const struct hub_reply *reply) {
    struct creation *c = ctx;
    c->call = NULL;
    if (reply->status != SBX_OK) {
        creation_fail(c, &reply->error);
        return;
    }
    struct job job;
    const struct json *item = NULL;
    struct job_machine *ours = c->machine;
    struct json *list = json_parse(reply->body->data, reply->body->len);
    if (oldest(c, list, &job, &item) && (ours == NULL || strcmp(job.id, ours->job.id) != 0)) {
        /* Theirs is the sandbox of this key; ours goes. */
        c->machine = NULL;
        if (ours != NULL) {
            job_end_machine(ours, "user");
            job_machine_free(ours);
        }
        if (fits(c, &job)) creation_adopt(c, &job, item, false);
    } else if (ours != NULL) {
        wait_for_it(c);
    } else {
        creation_post(c);
    }
    json_free(list);
}

void creation_seek_key(struct creation *c) {
    char target[512];
    snprintf(target, sizeof target, "/api/jobs/%s?" JOB_LIVING "&label=" JOB_LABEL_KEY "%%3D%s",
             jobs_namespace(c->jobs, c->hub_namespace), c->key);
    creation_ask(c, "jobs/:ns", "looking for the sandbox of the client key", target, answered_key);
}
