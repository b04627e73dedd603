#include "client/job_create.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/hardware.h"
#include "client/job_creation.h"
#include "client/job_end.h"
#include "client/label.h"
#include "util/clock.h"
#include "util/testing.h"
#include "util/text.h"
#include "wire/limits.h"

#define BODY_MAX MIB(8)

static void wipe(struct buf *body) {
    if (body->data != NULL) explicit_bzero(body->data, body->len);
    buf_free(body);
}

static void enlist(struct creation *c) {
    c->next = c->jobs->creations;
    if (c->next != NULL) c->next->prev = c;
    c->jobs->creations = c;
}

static void delist(struct creation *c) {
    if (c->prev != NULL) {
        c->prev->next = c->next;
    } else {
        c->jobs->creations = c->next;
    }
    if (c->next != NULL) c->next->prev = c->prev;
}

bool creation_has(const struct jobs *jobs, const char *nonce) {
    for (const struct creation *c = jobs->creations; c != NULL; c = c->next) {
        if (strcmp(c->nonce[0], nonce) == 0 || strcmp(c->nonce[1], nonce) == 0) return true;
    }
    return false;
}

void creation_stop_all(struct jobs *jobs) {
    while (jobs->creations != NULL && !testing_off("creations-at-exit"))
        op_failf(jobs->creations->op, SBX_ERROR_CANCELED, "%s: canceled: the program ends",
                 jobs->creations->op->name);
}

/* What posts may have made whose replies were lost, but for the job that is used. */
static void end_unknown(struct creation *c, const char *owner, const char *used) {
    for (int i = 0; i < 2; i++) {
        if (c->unsure[i]) job_end_creation(c->jobs, owner, c->nonce[i], used, NULL);
    }
}

/* Others may use a host as soon as it runs: that is for its pool to say. */
static void give_up(struct creation *c) {
    struct job_machine *m = c->machine;
    if (c->host.given_up == NULL || m->ended) {
        job_end_machine(m, "user");
    } else {
        c->host.given_up(c->host.ctx, m);
    }
}

void creation_release(struct creation *c, sbx_status status) {
    struct op *op = c->op;
    delist(c);
    jobs_forget(c->jobs, &c->who);
    job_wait_stop(&c->wait);
    io_timer_clear(&op->client->io, &c->timer);
    const char *owner = jobs_namespace(c->jobs, c->hub_namespace);
    if (!testing_off("job-end")) end_unknown(c, owner, status == SBX_OK ? c->machine->job.id : "");
    if (status != SBX_OK && !testing_off("job-end")) {
        if (c->call_makes && c->call != NULL && hub_call_sent(c->call)) {
            job_end_creation(c->jobs, owner, c->nonce[c->hub_agent], "", c->call);
            c->call = NULL;
        }
        /* One that was found by its key is somebody else's too. */
        if (c->machine != NULL && c->machine->made) give_up(c);
    }
    if (status != SBX_OK && c->machine != NULL) job_machine_free(c->machine);
    hub_call_cancel(c->call);
    jobs_free_secrets(c->hide);
    wipe(&c->body[0]);
    wipe(&c->body[1]);
    free(c);
}

static void creation_ended(struct op *op, sbx_status status) {
    creation_release(op->ctx, status);
}

static void doing(const struct op *op, char *out, size_t room) {
    const struct creation *c = op->ctx;
    if (c->machine != NULL) {
        job_wait_doing(c->machine, out, room);
    } else {
        snprintf(out, room, "%s",
                 c->posts > 0 ? "the Hub has not said that it made the job" : "the Hub does not answer");
    }
}

void creation_fail(struct creation *c, const sbx_error *error) {
    op_fail(c->op, error);
}

void creation_ask(struct creation *c, const char *route, const char *what, const char *target,
                  void (*done)(void *, const struct hub_reply *)) {
    sbx_error error;
    const struct hub_call_spec spec = {.method = "GET",
                                       .log_route = route,
                                       .what = what,
                                       .name = c->op->name,
                                       .target = target,
                                       .repeatable = true,
                                       .deadline = c->op->deadline,
                                       .done = done,
                                       .ctx = c};
    c->call = hub_call(&c->jobs->hub, &spec, &error);
    if (c->call == NULL) creation_fail(c, &error);
}
/* ---- Before it: how long it may run, and whose it is */

static void seek(struct creation *c) {
    bool ours = job_request_carries_agent(c->host.pool != NULL);
    if ((ours && !job_request_end(&c->body[0], c->lifetime_s)) ||
        !job_request_end(&c->body[1], c->lifetime_s)) {
        op_fail_memory(c->op);
    } else if (c->key[0] != '\0') {
        creation_seek_key(c);
    } else {
        creation_post(c);
    }
}

static int64_t affordable_s(uint64_t minutes) {
    return minutes < INT32_MAX ? (int64_t)minutes * 60 : (int64_t)INT32_MAX * 60;
}

static void priced(void *ctx, const struct hub_reply *reply) {
    struct creation *c = ctx;
    c->call = NULL;
    if (reply->status != SBX_OK) {
        creation_fail(c, &reply->error);
        return;
    }
    int64_t price = hardware_price(reply->body->data, reply->body->len, c->flavor); /* of a minute */
    int64_t affordable = price > 0 ? affordable_s(c->max_cost / (uint64_t)price) : 0;
    if (price == 0) {
        seek(c);
    } else if (price < 0) {
        op_failf(c->op, SBX_ERROR_INVALID,
                 "%s: max_cost_micro_usd cannot be kept: the Hub lists no price for flavor '%s' "
                 "(sbx_hardware_list_all shows them)",
                 c->op->name, c->flavor);
    } else if (affordable == 0 && !c->lifetime_given) {
        op_failf(c->op, SBX_ERROR_INVALID,
                 "%s: max_cost_micro_usd pays for %lld seconds of '%s' at $%lld.%06lld a minute, less than "
                 "a minute: raise it",
                 c->op->name, (long long)(c->max_cost * 60 / (uint64_t)price), c->flavor,
                 (long long)price / 1000000, (long long)price % 1000000);
    } else if (affordable == 0 || (c->lifetime_given && c->lifetime_s > affordable)) {
        op_failf(
            c->op, SBX_ERROR_INVALID,
            "%s: max_cost_micro_usd pays for %lld seconds of '%s' at $%lld.%06lld a minute, and lifetime_ms "
            "asks for %lld seconds: raise the one or lower the other",
            c->op->name, (long long)affordable, c->flavor, (long long)price / 1000000,
            (long long)price % 1000000, (long long)c->lifetime_s);
    } else {
        if (c->lifetime_s > affordable) c->lifetime_s = affordable;
        seek(c);
    }
}

static void known(void *ctx, const sbx_error *error) {
    struct creation *c = ctx;
    if (error != NULL) {
        sbx_error named;
        error_set(&named, error->code, "%s: %s", c->op->name, error->message);
        named.http_status = error->http_status;
        creation_fail(c, &named);
    } else if (c->max_cost > 0) {
        creation_ask(c, "jobs/hardware", "asking for the price", "/api/jobs/hardware", priced);
    } else {
        seek(c);
    }
}

/* ---- Options */

static bool hide(struct creation *c, const char *secret, size_t len) {
    char *own = strndup(secret, len);
    if (own != NULL) c->hide[c->hidden++] = own;
    return own != NULL;
}

/* A job's log shows secrets of several lines line by line. */
static bool copy_secrets(struct creation *c, const sbx_sandbox_options *options) {
    size_t count = 0;
    for (size_t i = 0; options->secrets != NULL && options->secrets[i] != NULL; i++) {
        count += 2;
        for (const char *at = options->secrets[i]; *at != '\0'; at++)
            count += *at == '\n';
    }
    c->hide = calloc(count + 4, sizeof *c->hide); /* room for more of hide */
    for (size_t i = 0; c->hide != NULL && options->secrets != NULL && options->secrets[i] != NULL; i++) {
        const char *value = strchr(options->secrets[i], '=') + 1;
        if (!hide(c, value, strlen(value))) return false;
        if (strchr(value, '\n') == NULL) continue;
        for (size_t len; *value != '\0'; value += len + (value[len] != '\0')) {
            len = strcspn(value, "\r\n");
            if (len > 0 && !hide(c, value, len)) return false;
        }
    }
    return c->hide != NULL;
}

/* The key of the sandbox, which is as good as the token there. */
static bool hide_key(struct creation *c, const char *nonce) {
    char key[65];
    job_token(c->jobs->hub.token, nonce, key);
    bool ok = hide(c, key, strlen(key));
    explicit_bzero(key, sizeof key);
    return ok;
}

static sbx_status take_options(struct creation *c, const sbx_sandbox_options *o, sbx_error *err) {
    snprintf(c->hub_namespace, sizeof c->hub_namespace, "%s",
             o->hub_namespace != NULL ? o->hub_namespace : "");
    snprintf(c->flavor, sizeof c->flavor, "%s", o->flavor != NULL ? o->flavor : JOB_FLAVOR);
    const char *image = o->image != NULL ? o->image : JOB_IMAGE, *space;
    bool is_space = label_image_is_space(image, &space);
    snprintf(c->image, sizeof c->image, "%s%s", is_space ? "hf.co/spaces/" : "", is_space ? space : image);
    snprintf(c->key, sizeof c->key, "%s", o->client_key != NULL ? o->client_key : "");
    c->lifetime_given = o->lifetime_ms > 0;
    c->lifetime_s = ((c->lifetime_given ? o->lifetime_ms : JOB_LIFETIME_MS) + 999) / 1000;
    c->detached = o->detached != 0;
    c->forward = o->forward_hf_token != 0;
    c->max_cost = o->max_cost_micro_usd;
    c->port_count = o->port_count;
    if (o->port_count > 0) memcpy(c->ports, o->ports, o->port_count * sizeof *c->ports);
    if (!copy_secrets(c, o) || !hide(c, c->jobs->hub.token, strlen(c->jobs->hub.token)))
        return error_memory(err);
    for (int i = job_request_carries_agent(c->host.pool != NULL) ? 0 : 1; i < 2; i++) {
        if (!text_random_hex(16, c->nonce[i]))
            return error_set(err, SBX_ERROR_SYSTEM, "the kernel gives no random bytes");
        if (!hide_key(c, c->nonce[i])) return error_memory(err);
        const struct job_request request = {.host = c->host.pool != NULL ? &c->host : NULL,
                                            .options = o,
                                            .hub_url = c->jobs->hub.endpoint.url,
                                            .hub_token = c->jobs->hub.token,
                                            .nonce = c->nonce[i],
                                            .hub_agent = i == 1};
        buf_init(&c->body[i], BODY_MAX);
        sbx_status status = job_request_begin(&c->body[i], &request, err);
        if (status != SBX_OK) return status;
    }
    return SBX_OK;
}

static void create(struct op *op, const sbx_sandbox_options *options, const struct job_host_settings *host) {
    sbx_error error = {.code = SBX_OK};
    if (job_request_check(options, op->name, &error) != SBX_OK) {
        op_fail(op, &error);
        return;
    }
    struct creation *c = calloc(1, sizeof *c);
    if (c == NULL) {
        op_fail_memory(op);
        return;
    }
    c->op = op;
    if (host != NULL) c->host = *host;
    c->jobs = jobs_of(op->client);
    c->timings = (sbx_timings){sizeof c->timings, -1, -1, -1};
    c->timer = (struct io_timer){.fire = creation_look_again, .ctx = c};
    c->who = (struct jobs_waiter){.known = known, .ctx = c};
    c->hub_agent = !job_request_carries_agent(host != NULL);
    enlist(c);
    op->ctx = c;
    op->end = creation_ended;
    op->doing = doing;
    if (take_options(c, options, &error) != SBX_OK) {
        op_fail(op, &error);
    } else if ((c->key[0] == '\0' && !jobs_needs_user(c->jobs, c->hub_namespace)) ||
               jobs_know(c->jobs, &c->who)) {
        known(c, NULL);
    }
}

void job_create(struct op *op, const sbx_sandbox_options *options) {
    create(op, options, NULL);
}

void job_create_host(struct op *op, const sbx_sandbox_options *options,
                     const struct job_host_settings *host) {
    create(op, options, host);
}
