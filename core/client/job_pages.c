#include "client/job_pages.h"

#include <stdio.h>
#include <string.h>

#include "client/json.h"
#include "client/request.h"
#include "util/testing.h"
#include "wire/limits.h"

#define PAGES_MAX 1000

void job_pages_stop(struct job_pages *p) {
    if (!p->active) return;
    p->active = false;
    jobs_forget(p->jobs, &p->who);
    hub_call_cancel(p->call);
    p->call = NULL;
}

static void end(struct job_pages *p, const sbx_error *error) {
    p->active = false;
    p->done(p->ctx, error);
}

/* What the Hub has made of the query does not count. */
static bool fits(const struct job_pages *p, const struct job *job) {
    if (!job->sandbox || !job->pool || job->phase == JOB_ENDED || job->pool_name[0] == '\0') return false;
    return p->pool == NULL || strcmp(p->pool, job->pool_name) == 0 || testing_off("pool-label");
}

static void ask(struct job_pages *p, const char *target);

static void page(void *ctx, const struct hub_reply *reply) {
    struct job_pages *p = ctx;
    sbx_error error = reply->error;
    p->call = NULL;
    if (reply->status != SBX_OK) {
        end(p, &error);
        return;
    }
    struct json *list = json_parse(reply->body->data, reply->body->len);
    bool ok = json_is_array(list);
    for (const struct json *item = json_first(list); ok && item != NULL; item = json_next(item)) {
        struct job job;
        if (job_parse(&job, item) && fits(p, &job)) p->item(p->ctx, &job, item);
    }
    json_free(list);
    if (!ok) {
        error_set(&error, SBX_ERROR_PROTOCOL, "listing the hosts: the Hub's answer is no list of jobs");
        end(p, &error);
    } else if (reply->next == NULL) {
        end(p, NULL);
    } else if (++p->pages >= PAGES_MAX) {
        error_set(&error, SBX_ERROR_TOO_LARGE, "listing the hosts: there are more than %d pages", PAGES_MAX);
        end(p, &error);
    } else {
        ask(p, reply->next);
    }
}

static void ask(struct job_pages *p, const char *target) {
    sbx_error error;
    const struct hub_call_spec spec = {.method = "GET",
                                       .name = p->name,
                                       .log_route = "jobs/:ns",
                                       .what = "listing the hosts",
                                       .target = target,
                                       .repeatable = true,
                                       .deadline = p->deadline,
                                       .done = page,
                                       .ctx = p};
    p->call = hub_call(&p->jobs->hub, &spec, &error);
    if (p->call == NULL) end(p, &error);
}

static void known(void *ctx, const sbx_error *error) {
    struct job_pages *p = ctx;
    if (error != NULL) {
        end(p, error);
        return;
    }
    struct buf target = BUF_INIT(KIB(4));
    char label[LABEL_MAX + sizeof JOB_LABEL_POOL + 2];
    buf_printf(&target, "/api/jobs/%s?" JOB_LIVING, jobs_namespace(p->jobs, p->hub_namespace));
    request_query(&target, "label", JOB_LABEL_MODE "=pool");
    if (p->pool != NULL) {
        snprintf(label, sizeof label, JOB_LABEL_POOL "=%s", p->pool);
        request_query(&target, "label", label);
    }
    if (target.failed) {
        sbx_error memory;
        error_memory(&memory);
        end(p, &memory);
    } else {
        ask(p, target.data);
    }
    buf_free(&target);
}

void job_pages_begin(struct job_pages *p) {
    p->active = true;
    p->pages = 0;
    p->who = (struct jobs_waiter){.known = known, .ctx = p};
    if (jobs_know(p->jobs, &p->who)) known(p, NULL);
}
