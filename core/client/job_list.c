#include "client/job_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/hardware.h"
#include "client/job_creation.h"
#include "client/jobs.h"
#include "client/json.h"
#include "client/label.h"
#include "client/request.h"
#include "client/sandbox.h"
#include "util/clock.h"
#include "util/scope.h"
#include "util/testing.h"
#include "wire/limits.h"

#define PAGES_MAX 1000

struct listing {
    struct op *op;
    struct jobs *jobs;
    struct jobs_waiter who;
    struct hub_call *call;
    char hub_namespace[JOB_NAME_SIZE];
    int64_t min_age_ms;
    struct buf query, labels; /* labels: one after the other, each with its NUL */
    sbx_hardware_list *prices;
    sbx_sandbox_list *rows;
    unsigned pages;
    /* Of reap. */
    bool reaps;
    struct cancellation *cancels;
    size_t canceling;
    uint64_t ended;
    sbx_error failure;
};

struct cancellation {
    struct cancellation *next;
    struct listing *listing;
    struct hub_call *call;
};

static void next_page(struct listing *l, const char *target);

static void listing_ended(struct op *op, sbx_status status) {
    struct listing *l = op->ctx;
    (void)status;
    jobs_forget(l->jobs, &l->who);
    hub_call_cancel(l->call);
    while (l->cancels != NULL) {
        struct cancellation *c = l->cancels;
        l->cancels = c->next;
        hub_call_cancel(c->call);
        free(c);
    }
    buf_free(&l->query);
    buf_free(&l->labels);
    sbx_hardware_list_free(l->prices);
    sbx_sandbox_list_free(l->rows);
    free(l);
}

/* The times of jobs are the Hub's. Its clock tells whole seconds: within one of them there is no difference.
 */
static void compare_clocks(struct jobs *jobs, int64_t date_ms) {
    int64_t now = clock_wall_ms();
    if (date_ms == 0 || testing_off("hub-clock")) return;
    jobs->hub_ahead_ms = now < date_ms ? date_ms - now : now > date_ms + 1000 ? date_ms + 1000 - now : 0;
}

static int64_t hub_now_ms(const struct listing *l) {
    return clock_wall_ms() + l->jobs->hub_ahead_ms;
}

static struct job_machine *known_machine(const struct listing *l, const char *id) {
    for (struct job_machine *m = l->jobs->machines; m != NULL; m = m->next) {
        if (strcmp(m->job.id, id) == 0) return m;
    }
    return NULL;
}

static int64_t cost_of(const struct listing *l, const struct job *job) {
    int64_t price = hardware_cost(l->prices, job->flavor);
    if (price < 0) return -1;
    int64_t ran = job->started_ms > 0 ? hub_now_ms(l) - job->started_ms : 0;
    return ran > 0 ? (int64_t)((double)price * (double)ran / 60000) : 0;
}

static bool add(struct listing *l, const struct job *job) {
    const struct job_machine *m = known_machine(l, job->id);
    char id[JOB_ID_SIZE + JOB_NAME_SIZE];
    bool plain = strcmp(l->hub_namespace, jobs_namespace(l->jobs, NULL)) == 0;
    snprintf(id, sizeof id, "%s%s%s", plain ? "" : l->hub_namespace, plain ? "" : "/", job->id);
    sbx_sandbox_info_row row = {.id = id,
                                .provider = "jobs",
                                .created_at_ms = job->created_ms,
                                .detached = m == NULL || !m->owned,
                                .running = job->phase == JOB_RUNS,
                                .hub_namespace = l->hub_namespace,
                                .stage = job->stage,
                                .image = job->image,
                                .flavor = job->flavor,
                                .started_at_ms = job->started_ms,
                                .cost_micro_usd = cost_of(l, job)};
    return sandbox_list_add(l->rows, &row);
}

/* ---- The end of those that are listed */

static void reaped(struct listing *l) {
    if (l->canceling > 0) return;
    if (l->failure.code != SBX_OK) {
        sbx_error error;
        error_set(&error, l->failure.code, "%s (%llu were ended)", l->failure.message,
                  (unsigned long long)l->ended);
        error.http_status = l->failure.http_status;
        op_fail(l->op, &error);
    } else {
        l->op->out.number = l->ended;
        op_done(l->op, SBX_OK);
    }
}

static void canceled(void *ctx, const struct hub_reply *reply) {
    struct cancellation *c = ctx;
    struct listing *l = c->listing;
    c->call = NULL;
    l->canceling--;
    int status = reply->http_status;
    if (reply->status == SBX_OK || status == 400 || status == 409 ||
        status == 410) { /* or had ended already */
        l->ended++;
    } else if (l->failure.code == SBX_OK) {
        l->failure = reply->error;
    }
    reaped(l);
}

static bool cancel(struct listing *l, const char *id) {
    struct cancellation *c = calloc(1, sizeof *c);
    if (c == NULL) return false;
    c->listing = l;
    c->next = l->cancels;
    l->cancels = c;
    char target[256];
    snprintf(target, sizeof target, "/api/jobs/%s/%s/cancel", l->hub_namespace, id);
    const struct hub_call_spec spec = {.method = "POST",
                                       .name = l->op->name,
                                       .log_route = "jobs/:ns/:id/cancel",
                                       .what = "canceling a job",
                                       .target = target,
                                       .repeatable = true,
                                       .accepts = 404,
                                       .deadline = l->op->deadline,
                                       .done = canceled,
                                       .ctx = c};
    c->call = hub_call(&l->jobs->hub, &spec, &l->failure);
    if (c->call != NULL) l->canceling++;
    return true;
}

static void complete(struct listing *l) {
    if (!l->reaps) {
        l->op->out.sandboxes = steal_pointer(&l->rows);
        op_done(l->op, SBX_OK);
        return;
    }
    for (size_t i = 0; i < sbx_sandbox_list_count(l->rows); i++) {
        const sbx_sandbox_info_row *row = sbx_sandbox_list_get(l->rows, i);
        const char *slash = strrchr(row->id, '/');
        if (!row->detached) continue;
        if (!cancel(l, slash != NULL ? slash + 1 : row->id)) {
            op_fail_memory(l->op);
            return;
        }
    }
    reaped(l);
}

/* ---- Pages */

static void page(void *ctx, const struct hub_reply *reply) {
    struct listing *l = ctx;
    struct op *op = l->op;
    l->call = NULL;
    if (reply->status != SBX_OK) {
        op_fail(op, &reply->error);
        return;
    }
    compare_clocks(l->jobs, reply->date_ms);
    struct json *list = json_parse(reply->body->data, reply->body->len);
    bool ok = json_is_array(list), room = true;
    for (const struct json *item = json_first(list); ok && room && item != NULL; item = json_next(item)) {
        struct job job;
        if (!job_parse(&job, item) || job.phase == JOB_ENDED) continue;
        /* What is ended must be what was asked for, whatever the Hub has made of the query. */
        bool fits = job.sandbox && !job.pool;
        for (size_t at = 0; at < l->labels.len; at += strlen(l->labels.data + at) + 1)
            fits = fits && job_has_label(item, l->labels.data + at);
        if (!fits && !testing_off("answer-labels")) continue;
        bool young = job.created_ms == 0 || hub_now_ms(l) - job.created_ms < l->min_age_ms;
        if ((l->min_age_ms > 0 && young) || (l->reaps && creation_has(l->jobs, job.nonce))) continue;
        room = add(l, &job);
    }
    json_free(list);
    if (!ok) {
        op_failf(op, SBX_ERROR_PROTOCOL, "%s: the Hub's answer is no list of jobs", op->name);
    } else if (!room) {
        op_fail_memory(op);
    } else if (reply->next == NULL) {
        complete(l);
    } else if (++l->pages >= PAGES_MAX) {
        op_failf(op, SBX_ERROR_TOO_LARGE, "%s: the Hub's list has more than %d pages", op->name, PAGES_MAX);
    } else {
        next_page(l, reply->next);
    }
}

static void next_page(struct listing *l, const char *target) {
    sbx_error error;
    const struct hub_call_spec spec = {.method = "GET",
                                       .name = l->op->name,
                                       .log_route = "jobs/:ns",
                                       .what = "listing the jobs",
                                       .target = target,
                                       .repeatable = true,
                                       .deadline = l->op->deadline,
                                       .done = page,
                                       .ctx = l};
    l->call = hub_call(&l->jobs->hub, &spec, &error);
    if (l->call == NULL) op_fail(l->op, &error);
}

static void first_page(struct listing *l) {
    struct buf target = BUF_INIT(KIB(256));
    if (l->hub_namespace[0] == '\0')
        snprintf(l->hub_namespace, sizeof l->hub_namespace, "%s", jobs_namespace(l->jobs, NULL));
    buf_printf(&target, "/api/jobs/%s%s", l->hub_namespace, l->query.data);
    if (target.failed) {
        op_fail_memory(l->op);
    } else {
        next_page(l, target.data);
    }
    buf_free(&target);
}

static void priced(void *ctx, const struct hub_reply *reply) {
    struct listing *l = ctx;
    l->call = NULL;
    /* Without prices the list is still a list. */
    if (reply->status == SBX_OK) l->prices = hardware_parse(reply->body->data, reply->body->len);
    first_page(l);
}

static void known(void *ctx, const sbx_error *error) {
    struct listing *l = ctx;
    sbx_error failure;
    if (error != NULL) {
        op_fail(l->op, error);
        return;
    }
    if (l->reaps) {
        first_page(l);
        return;
    }
    const struct hub_call_spec spec = {.method = "GET",
                                       .log_route = "jobs/hardware",
                                       .what = "asking for the prices",
                                       .target = "/api/jobs/hardware",
                                       .repeatable = true,
                                       .deadline = l->op->deadline,
                                       .done = priced,
                                       .ctx = l};
    l->call = hub_call(&l->jobs->hub, &spec, &failure);
    if (l->call == NULL) op_fail(l->op, &failure);
}

static bool write_query(struct buf *query, struct buf *labels, const sbx_filter *filter, sbx_error *err) {
    buf_puts(query, "?" JOB_LIVING);
    request_query(query, "label", JOB_LABEL "=1");
    for (size_t i = 0; filter->labels != NULL && filter->labels[i] != NULL; i++) {
        if (label_check(filter->labels[i], err) != SBX_OK) return false;
        request_query(query, "label", filter->labels[i]);
        buf_append(labels, filter->labels[i], strlen(filter->labels[i]) + 1);
    }
    query->failed = query->failed || labels->failed;
    if (query->failed) error_set(err, SBX_ERROR_TOO_LARGE, "there are too many labels");
    return !query->failed;
}

static void begin(struct op *op, const sbx_filter *filter, bool reaps) {
    struct listing *l = calloc(1, sizeof *l);
    if (l == NULL) {
        op_fail_memory(op);
        return;
    }
    l->op = op;
    l->jobs = jobs_of(op->client);
    l->who = (struct jobs_waiter){.known = known, .ctx = l};
    l->reaps = reaps;
    l->min_age_ms = filter->min_age_ms;
    buf_init(&l->query, KIB(128));
    buf_init(&l->labels, KIB(256));
    l->rows = sandbox_list_new();
    op->ctx = l;
    op->end = listing_ended;
    sbx_error error;
    const char *asked = filter->hub_namespace != NULL ? filter->hub_namespace : "";
    snprintf(l->hub_namespace, sizeof l->hub_namespace, "%s", asked);
    if (l->rows == NULL) {
        op_fail_memory(op);
    } else if (*asked != '\0' && !job_name_ok(asked)) {
        op_failf(op, SBX_ERROR_INVALID,
                 "%s: hub_namespace is '%.60s': give the name of a user or an organization", op->name, asked);
    } else if (!write_query(&l->query, &l->labels, filter, &error)) {
        op_failf(op, error.code, "%s: %s", op->name, error.message);
    } else if (!jobs_needs_user(l->jobs, l->hub_namespace) || jobs_know(l->jobs, &l->who)) {
        known(l, NULL);
    }
}

void job_list(struct op *op, const sbx_filter *filter) {
    begin(op, filter, false);
}

void job_list_reap(struct op *op, const sbx_filter *filter) {
    begin(op, filter, true);
}
