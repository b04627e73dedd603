#include "client/job_wait.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/hub_error.h"
#include "client/json.h"
#include "client/log.h"
#include "client/request.h"
#include "client/sandbox.h"
#include "util/clock.h"
#include "util/scope.h"
#include "wire/limits.h"

#define HEALTH_FIRST   50 /* milliseconds between two questions to the agent, of which one is under way */
#define HEALTH_MOST    120
#define HEALTH_WAITING 500 /* the same for a job that has been waiting for its machine for long */
#define HEALTH_EACH    5   /* more with each machine that is waited for at the same time */
#define HEALTH_SILENCE 5000
#define INSPECT_FIRST  250
#define INSPECT_MOST   2000
#define INSPECT_EACH   500  /* more with each machine that is waited for at the same time */
#define LOG_MS         4000 /* the longest wait for the log of a job that has ended */
#define LOG_QUIET_MS   300  /* and for more of it */
#define LOG_TARGET     "/api/jobs/%s/%s/logs?tail=20"

void job_wait_doing(const struct job_machine *machine, char *out, size_t room) {
    const struct job *job = &machine->job;
    snprintf(out, room, "job %s is %s%s", job->id, job->stage,
             job->phase == JOB_RUNS ? ", and its agent does not answer" : "");
}

static void ask_agent(void *ctx);
static void ask_hub(void *ctx);

void job_wait_stop(struct job_wait *w) {
    if (!w->active) return;
    struct io *io = &w->jobs->client->io;
    w->active = false;
    w->jobs->starting--;
    if (w->health != NULL) transfer_cancel(w->health);
    hub_call_cancel(w->inspect);
    w->health = NULL;
    w->inspect = NULL;
    io_timer_clear(io, &w->health_timer);
    io_timer_clear(io, &w->inspect_timer);
    buf_free(&w->reply);
    job_log_free(&w->log);
    endpoint_free(&w->agent);
}

static void give_up(struct job_wait *w) {
    sbx_error error = w->error;
    job_wait_stop(w);
    w->failed(w->ctx, &error);
}

/* False: w has given up, and is gone. */
static bool wake(struct job_wait *w, struct io_timer *timer, int64_t ms) {
    if (io_timer_set(&w->jobs->client->io, timer, clock_ms() + ms)) return true;
    error_memory(&w->error);
    give_up(w);
    return false;
}

static void progress(struct job_wait *w, const char *phase, int64_t *at) {
    char ms[24];
    if (*at >= 0) return;
    *at = clock_ms() - w->begun_ms;
    snprintf(ms, sizeof ms, "%lld", (long long)*at);
    log_event(w->jobs->client, SBX_LOG_INFO, "sandbox.progress", "id", w->machine->job.id, "phase", phase,
              "stage", w->machine->job.stage, "ms", ms, NULL);
}

/* ---- The end of the job, with what its log says */

static void told(void *ctx, const struct hub_reply *reply) {
    struct job_wait *w = ctx;
    (void)reply;
    w->inspect = NULL;
    const struct job *job = &w->machine->job;
    struct buf lines = BUF_INIT(4096);
    char message[sizeof job->message], key[65];
    job_token(w->jobs->hub.token, job->nonce, key);
    const char *const own[] = {w->jobs->hub.token, key, NULL};
    const char *const *secrets = w->secrets != NULL ? w->secrets : own;
    snprintf(message, sizeof message, "%s", job->message);
    hub_error_redact(message, secrets);
    error_set(&w->error, SBX_ERROR_AGENT, "%s: job %s ended before its agent answered: %s%s%s", w->name,
              job->id, job->stage, message[0] != '\0' ? ": " : "", message);
    size_t used = strlen(w->error.message), room = sizeof w->error.message - 1;
    static const char begin[] = "; its log ends: ";
    if (used + sizeof begin < room) job_log_text(&w->log, &lines, room - used - sizeof begin, secrets);
    if (lines.len > 0) snprintf(w->error.message + used, room + 1 - used, "%s%s", begin, lines.data);
    explicit_bzero(key, sizeof key);
    buf_free(&lines);
    give_up(w);
}

static int64_t lesser(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static bool log_piece(void *ctx, const char *data, size_t len) {
    struct job_wait *w = ctx;
    /* The stream may stay open. The timer is set: this cannot fail. */
    io_timer_set(&w->jobs->client->io, &w->inspect_timer, lesser(clock_ms() + LOG_QUIET_MS, w->log_until));
    job_log_feed(&w->log, data, len);
    return true;
}

static void log_is_late(void *ctx) {
    struct job_wait *w = ctx;
    hub_call_cancel(w->inspect);
    told(w, NULL);
}

static void job_has_ended(struct job_wait *w) {
    struct io *io = &w->jobs->client->io;
    char target[256];
    if (w->health != NULL) transfer_cancel(w->health);
    w->health = NULL;
    io_timer_clear(io, &w->health_timer);
    w->inspect_timer.fire = log_is_late;
    w->log_until = clock_ms() + LOG_MS;
    snprintf(target, sizeof target, LOG_TARGET, w->machine->hub_namespace, w->machine->job.id);
    const struct hub_call_spec spec = {.method = "GET",
                                       .log_route = "jobs/:ns/:id/logs",
                                       .what = "reading the job's log",
                                       .target = target,
                                       .repeatable = true,
                                       .deadline = clock_deadline(LOG_MS),
                                       .on_data = log_piece,
                                       .done = told,
                                       .ctx = w};
    w->inspect = hub_call(&w->jobs->hub, &spec, NULL);
    wake(w, &w->inspect_timer, w->inspect != NULL ? LOG_MS : 0);
}

/* ---- The Hub */

static void inspected(void *ctx, const struct hub_reply *reply) {
    struct job_wait *w = ctx;
    struct job *known = &w->machine->job, job;
    w->inspect = NULL;
    if (reply->status != SBX_OK) {
        /* The agent may answer all the same, and that is what is waited for. */
        bool passing = reply->http_status == 0 || reply->http_status == 408 || reply->http_status == 429 ||
                       reply->http_status >= 500;
        bool dead = reply->http_status == 0 && clock_ms() - w->heard_ms > 2 * request_silence_ms();
        if (reply->http_status != 0) w->heard_ms = clock_ms();
        if (passing && !dead) {
            wake(w, &w->inspect_timer, reply->asked_ms > INSPECT_MOST ? reply->asked_ms : INSPECT_MOST);
            return;
        }
        error_set(&w->error, reply->error.code, "%s: job %s, last seen %s: %s", w->name, known->id,
                  known->stage, reply->error.message);
        w->error.http_status = reply->http_status;
        give_up(w);
        return;
    }
    w->heard_ms = clock_ms();
    struct json *value = json_parse(reply->body->data, reply->body->len);
    bool ok = job_parse(&job, value) && strcmp(job.id, known->id) == 0;
    json_free(value);
    if (ok) {
        memcpy(known->stage, job.stage, sizeof known->stage);
        memcpy(known->message, job.message, sizeof known->message);
        if (job.started_ms != 0) known->started_ms = job.started_ms;
        bool news = known->phase != job.phase;
        known->phase = job.phase;
        if (job.phase == JOB_ENDED) {
            job_has_ended(w);
            return;
        }
        if (job.phase == JOB_RUNS) progress(w, "running", &w->timings->running_ms);
        if (news && w->health == NULL) {
            w->health_pause = HEALTH_FIRST;
            if (!wake(w, &w->health_timer, 0)) return;
        }
    }
    int64_t most = INSPECT_EACH * (int64_t)w->jobs->starting;
    if (most < INSPECT_MOST) most = INSPECT_MOST;
    w->inspect_pause = w->inspect_pause * 8 / 5 < most ? w->inspect_pause * 8 / 5 : most;
    wake(w, &w->inspect_timer, hub_jitter(&w->jobs->hub, w->inspect_pause * 4 / 3));
}

static void ask_hub(void *ctx) {
    struct job_wait *w = ctx;
    char target[256];
    snprintf(target, sizeof target, "/api/jobs/%s/%s", w->machine->hub_namespace, w->machine->job.id);
    const struct hub_call_spec spec = {.method = "GET",
                                       .log_route = "jobs/:ns/:id",
                                       .what = "asking about it",
                                       .target = target,
                                       .repeatable = true,
                                       .deadline = w->deadline,
                                       .done = inspected,
                                       .ctx = w};
    w->inspect = hub_call(&w->jobs->hub, &spec, &w->error);
    if (w->inspect == NULL) give_up(w);
}

/* ---- The agent */

static enum transfer_flow health_data(void *ctx, const char *data, size_t len) {
    struct job_wait *w = ctx;
    buf_append(&w->reply, data, len); /* what does not fit is no answer of an agent */
    return TRANSFER_TAKEN;
}

static bool is_healthy(struct job_wait *w, unsigned *features) {
    struct json *value =
        w->reply.failed ? NULL : json_parse(w->reply.data != NULL ? w->reply.data : "", w->reply.len);
    const char *state = json_string(value, "status");
    bool ok = state != NULL && strcmp(state, "ok") == 0;
    *features = sandbox_endpoint_features(value);
    json_free(value);
    return ok;
}

/* Who has waited for a minute does not mind half a second. */
static int64_t health_most(const struct job_wait *w) {
    int64_t most = HEALTH_MOST, waited = (clock_ms() - w->begun_ms) / 100;
    if (waited > HEALTH_WAITING) waited = HEALTH_WAITING;
    if (w->machine->job.phase != JOB_RUNS && waited > most) most = waited;
    int64_t share = HEALTH_EACH * (int64_t)w->jobs->starting;
    return share > most ? share : most;
}

static void answered(void *ctx, const struct transfer_end *end) {
    struct job_wait *w = ctx;
    unsigned features;
    int status = end->outcome == TRANSFER_OK ? end->head->status : 0;
    w->health = NULL;
    if (status == 200 && is_healthy(w, &features)) {
        if (w->machine->job.phase != JOB_RUNS)
            strcpy(w->machine->job.stage, "RUNNING"); /* the Hub's word is late */
        w->machine->job.phase = JOB_RUNS;
        progress(w, "running", &w->timings->running_ms);
        progress(w, "answering", &w->timings->answered_ms);
        struct endpoint agent = w->agent;
        memset(&w->agent, 0, sizeof w->agent);
        w->agent.control_fd = -1;
        agent.features = features;
        job_wait_stop(w);
        w->ready(w->ctx, &agent);
        return;
    }
    if (status == 401 || status == 403) {
        error_set(&w->error, SBX_ERROR_AUTH,
                  "%s: the Hub's proxy before job %s refuses the token (%d): it needs the permission to read "
                  "in namespace %s",
                  w->name, w->machine->job.id, status, w->machine->hub_namespace);
        w->error.http_status = status;
        give_up(w);
        return;
    }
    /* Another answer than before may be the news of an end. */
    bool news = status != w->last_status && w->last_status != 0;
    if (news && w->inspect == NULL && !wake(w, &w->inspect_timer, 0)) return;
    w->last_status = status;
    int64_t most = health_most(w);
    w->health_pause = w->health_pause * 13 / 10 < most ? w->health_pause * 13 / 10 : most;
    int64_t pause = hub_jitter(&w->jobs->hub, w->health_pause * 4 / 3) - (clock_ms() - w->asked_ms);
    wake(w, &w->health_timer, pause > 0 ? pause : 0);
}

static void ask_agent(void *ctx) {
    struct job_wait *w = ctx;
    const struct transfer_spec spec = {.endpoint = &w->agent,
                                       .method = "GET",
                                       .log_route = "health",
                                       .target = "/health",
                                       .silence_ms = HEALTH_SILENCE,
                                       .on_data = health_data,
                                       .on_end = answered,
                                       .ctx = w};
    buf_clear(&w->reply);
    w->asked_ms = clock_ms();
    w->health = transfer_start(w->jobs->client, &spec, &w->error);
    if (w->health == NULL) give_up(w);
}

bool job_wait_begin(struct job_wait *w, sbx_error *err) {
    struct io *io = &w->jobs->client->io;
    char token[65];
    /* With the token the answer says what the agent can do. */
    job_token(w->jobs->hub.token, w->machine->job.nonce, token);
    sbx_status status = endpoint_make(&w->agent, ENDPOINT_URL, w->machine->url, NULL, -1, token, 0, err);
    explicit_bzero(token, sizeof token);
    if (status == SBX_OK) status = endpoint_set_bearer(&w->agent, w->jobs->hub.token, err);
    w->health_timer = (struct io_timer){.fire = ask_agent, .ctx = w};
    w->inspect_timer = (struct io_timer){.fire = ask_hub, .ctx = w};
    w->health_pause = HEALTH_FIRST;
    w->inspect_pause = INSPECT_FIRST;
    w->heard_ms = clock_ms();
    buf_init(&w->reply, KIB(64));
    job_log_init(&w->log);
    if (status == SBX_OK && io_timer_set(io, &w->health_timer, clock_ms()) &&
        io_timer_set(io, &w->inspect_timer, clock_ms() + INSPECT_FIRST)) {
        w->active = true;
        w->jobs->starting++;
        if (w->machine->job.phase == JOB_RUNS) progress(w, "running", &w->timings->running_ms);
        return true;
    }
    if (status == SBX_OK) error_memory(err);
    io_timer_clear(io, &w->health_timer);
    io_timer_clear(io, &w->inspect_timer);
    endpoint_free(&w->agent);
    job_log_free(&w->log);
    return false;
}
