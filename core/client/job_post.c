#include <stdio.h>
#include <string.h>

#include "client/job_creation.h"
#include "client/json.h"
#include "client/log.h"
#include "util/clock.h"

#define POSTS_MAX  3 /* of one creation, after replies that were lost */
#define LOOKS      3 /* after each: whether it was made after all */
#define LOOK_MS    400
#define LOOK_FIRST 50

/* ---- The request */

/* A reply was lost: the job may be there, or come yet. */
static void looked(void *ctx, const struct hub_reply *reply) {
    struct creation *c = ctx;
    c->call = NULL;
    if (reply->status != SBX_OK) {
        creation_fail(c, &reply->error);
        return;
    }
    struct json *list = json_parse(reply->body->data, reply->body->len);
    struct job job;
    const struct json *found = NULL;
    for (const struct json *item = json_first(list); item != NULL && found == NULL; item = json_next(item)) {
        if (job_parse(&job, item) && strcmp(job.nonce, c->nonce[c->hub_agent]) == 0) found = item;
    }
    if (found != NULL) {
        if (c->posts == 1) c->unsure[c->hub_agent] = false; /* it can have made no other */
        creation_adopt(c, &job, found, true);
    } else if (c->looks < LOOKS) {
        if (!io_timer_set(&c->op->client->io, &c->timer,
                          clock_ms() + hub_jitter(&c->jobs->hub, (int64_t)LOOK_MS << c->looks)))
            op_fail_memory(c->op);
    } else {
        creation_post(c);
    }
    json_free(list);
}

void creation_look_again(void *ctx) {
    struct creation *c = ctx;
    char target[512];
    c->looks++;
    snprintf(target, sizeof target, "/api/jobs/%s?label=" JOB_LABEL_NONCE "%%3D%s",
             jobs_namespace(c->jobs, c->hub_namespace), c->nonce[c->hub_agent]);
    creation_ask(c, "jobs/:ns", "looking for the job after a lost reply", target, looked);
}

static bool has_any(const char *text, const char *const *words, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (strcasestr(text, words[i]) != NULL) return true;
    }
    return false;
}

static bool refuses_size(const struct hub_reply *reply) {
    if (reply->http_status == 413 || reply->http_status == 431) return true;
    if (reply->http_status != 400 && reply->http_status != 422) return false;
    /* [?] what the Hub says of a secret that is too long is not known. */
    static const char *const what[] = {"secret", "request", "payload", "body", "entity"};
    static const char *const words[] = {"large", "long", "size", "length", "exceed", "bytes", "big"};
    return has_any(reply->error.message, what, sizeof what / sizeof *what) &&
           has_any(reply->error.message, words, sizeof words / sizeof *words);
}

/* The Hub may have asked for a pause. */
static void look_after(struct creation *c, int64_t ms, int64_t asked_ms) {
    if (!io_timer_set(&c->op->client->io, &c->timer, clock_ms() + (asked_ms > ms ? asked_ms : ms)))
        op_fail_memory(c->op);
}

static void posted(void *ctx, const struct hub_reply *reply) {
    struct creation *c = ctx;
    c->call = NULL;
    c->call_makes = false;
    struct job job;
    struct json *value = reply->status == SBX_OK ? json_parse(reply->body->data, reply->body->len) : NULL;
    if (job_parse(&job, value)) {
        creation_adopt(c, &job, value, true);
    } else if (reply->status == SBX_OK || reply->unsure) {
        c->unsure[c->hub_agent] = true;
        c->looks = 0;
        if (c->posts >= POSTS_MAX) {
            sbx_error error = reply->error;
            if (reply->status == SBX_OK)
                error_set(&error, SBX_ERROR_PROTOCOL,
                          "%s: creating the job: the Hub's answer describes no job", c->op->name);
            creation_fail(c, &error);
        } else {
            look_after(c, hub_jitter(&c->jobs->hub, LOOK_FIRST), reply->asked_ms);
        }
    } else if (!c->hub_agent && refuses_size(reply)) {
        log_event(c->op->client, SBX_LOG_WARNING, "sandbox.retried", "id", "", "reason",
                  "the Hub refuses the request's size", NULL);
        c->hub_agent = true;
        c->posts = 0;
        creation_post(c);
    } else {
        creation_fail(c, &reply->error);
    }
    json_free(value);
}

void creation_post(struct creation *c) {
    sbx_error error;
    char target[256];
    struct buf *body = &c->body[c->hub_agent];
    c->posts++;
    snprintf(target, sizeof target, "/api/jobs/%s", jobs_namespace(c->jobs, c->hub_namespace));
    const struct hub_call_spec spec = {.method = "POST",
                                       .log_route = "jobs/:ns",
                                       .what = "creating the job",
                                       .name = c->op->name,
                                       .target = target,
                                       .body = body->data,
                                       .body_len = body->len,
                                       .secrets = (const char *const *)c->hide,
                                       .deadline = c->op->deadline,
                                       .done = posted,
                                       .ctx = c};
    c->call = hub_call(&c->jobs->hub, &spec, &error);
    c->call_makes = c->call != NULL;
    if (c->call == NULL) creation_fail(c, &error);
}
