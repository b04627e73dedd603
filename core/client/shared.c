#include "client/shared.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/json.h"
#include "client/transport.h"
#include "util/clock.h"
#include "util/testing.h"

#define END_MS 30000 /* what nobody waits for goes on that long */

static bool name_ok(const char *name) {
    size_t len =
        name != NULL ? strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") : 0;
    return len > 0 && len < SHARED_NAME_SIZE && name[len] == '\0';
}

bool shared_split_id(const char *id, char host[200], char name[SHARED_NAME_SIZE]) {
    const char *slash = strchr(id, '/'), *dot = strchr(slash != NULL ? slash : id, '.');
    if (dot == NULL || (size_t)(dot - id) >= 200 || !name_ok(dot + 1)) return false;
    snprintf(host, 200, "%.*s", (int)(dot - id), id);
    snprintf(name, SHARED_NAME_SIZE, "%s", dot + 1);
    return true;
}

bool shared_parse(struct shared_item *out, const struct json *item) {
    *out = (struct shared_item){0};
    const char *name = json_string(item, "id"), *token = json_string(item, "token"),
               *isolation = json_string(item, "confinement");
    if (!name_ok(name) || (token != NULL && strlen(token) >= sizeof out->token)) return false;
    snprintf(out->name, sizeof out->name, "%s", name);
    snprintf(out->token, sizeof out->token, "%s", token != NULL ? token : "");
    snprintf(out->isolation, sizeof out->isolation, "%.31s", isolation != NULL ? isolation : "");
    return true;
}

struct shared *shared_of(const struct sbx_sandbox *sandbox) {
    return sandbox->provider == &provider_shared ? sandbox->machine : NULL;
}

/* ---- Is it still there? */

static void tell(struct shared *s, bool ended) {
    void (*gone)(void *, struct host *, bool) = s->gone;
    s->gone = NULL;
    if (gone != NULL) gone(s->ctx, s->host, ended);
}

static void doubt_done(void *ctx, const struct host_reply *reply) {
    struct shared *s = ctx;
    s->doubt = NULL;
    struct json *list = reply->status == SBX_OK ? json_parse(reply->body->data, reply->body->len) : NULL;
    bool known = json_is_array(list), found = false;
    for (const struct json *item = json_first(list); item != NULL && !found; item = json_next(item)) {
        const char *name = json_string(item, "id");
        found = name != NULL && strcmp(name, s->name) == 0;
    }
    json_free(list);
    if (!known || found || s->ended) return; /* no news */
    struct sbx_sandbox *sandbox = s->sandbox;
    sandbox_hold(sandbox);
    s->ended = true;
    tell(s, true);
    sandbox_died(sandbox, "sandbox %s has ended: it was idle, or somebody else has ended it", sandbox->id);
    sandbox_release(sandbox);
}

/* A host does not know the key of a sandbox that has ended; the Hub's own agent says 404, of files too. */
static bool in_doubt(struct sbx_sandbox *sandbox, int http_status) {
    struct shared *s = sandbox->machine;
    if (http_status != 403 && (http_status != 404 || host_honours_keys(s->host))) return false;
    if (s->doubt == NULL)
        s->doubt = host_call(s->host, &(struct host_call_spec){.method = "GET",
                                                               .log_route = "sandboxes",
                                                               .what = "asking whether the sandbox is there",
                                                               .target = "/v1/sandboxes",
                                                               .repeatable = true,
                                                               .deadline = clock_deadline(END_MS),
                                                               .done = doubt_done,
                                                               .ctx = s});
    return s->doubt != NULL;
}

/* ---- The handle */

static sbx_status make_endpoint(struct endpoint *out, struct host *host, const struct shared_item *item) {
    struct endpoint *agent = &host->agent->endpoint;
    char prefix[SHARED_NAME_SIZE + 32];
    snprintf(prefix, sizeof prefix, "/v1/sandboxes/%s/", item->name);
    const char *token = item->token[0] != '\0' ? item->token : agent->token;
    sbx_status status = endpoint_make(out, ENDPOINT_URL, agent->url, NULL, -1, token, agent->features, NULL);
    if (status != SBX_OK) return status;
    if (endpoint_set_prefix(out, prefix, NULL) != SBX_OK ||
        endpoint_set_bearer(out, host->jobs->hub.token, NULL) != SBX_OK) {
        endpoint_free(out);
        return SBX_ERROR_MEMORY;
    }
    out->trouble = agent->trouble;
    out->trouble_ctx = agent->trouble_ctx;
    transport_pool_share(out, agent);
    return SBX_OK;
}

struct sbx_sandbox *shared_new(struct host *host, const struct shared_item *item, bool plain, bool owned) {
    struct endpoint endpoint;
    char id[JOB_ID_SIZE + JOB_NAME_SIZE + SHARED_NAME_SIZE];
    struct shared *s = calloc(1, sizeof *s);
    if (s == NULL || make_endpoint(&endpoint, host, item) != SBX_OK) {
        free(s);
        return NULL;
    }
    const char *ns = host->machine->hub_namespace;
    snprintf(id, sizeof id, "%s%s%s.%s", plain ? "" : ns, plain ? "" : "/", host->machine->job.id,
             item->name);
    s->sandbox = sandbox_new(host->client, &provider_shared, s, id, &endpoint);
    if (s->sandbox == NULL) {
        free(s);
        return NULL;
    }
    memcpy(s->name, item->name, sizeof s->name);
    memcpy(s->isolation, item->isolation, sizeof s->isolation);
    s->owned = owned;
    s->sandbox->in_doubt = in_doubt;
    s->sandbox->detached = !owned;
    s->host = host;
    host_hold(host);
    s->next = host->shared;
    if (s->next != NULL) s->next->prev = s;
    host->shared = s;
    return s->sandbox;
}

void shared_host_died(struct host *host) {
    for (struct shared *s = host->shared, *next; s != NULL; s = next) {
        struct sbx_sandbox *sandbox = s->sandbox;
        sandbox_hold(sandbox);
        s->ended = true;
        sandbox_died(sandbox, "sandbox %s has ended with its host: %s", sandbox->id,
                     host->agent->death.message);
        next = s->next;
        sandbox_release(sandbox);
    }
}

void shared_ended(struct host *host, const char *name) {
    for (struct shared *s = host->shared, *next; s != NULL; s = next) {
        struct sbx_sandbox *sandbox = s->sandbox;
        sandbox_hold(sandbox);
        if (strcmp(s->name, name) == 0 && !s->ended) {
            s->ended = true;
            tell(s, true);
            sandbox_died(sandbox, "sandbox %s was killed", sandbox->id);
        }
        next = s->next;
        sandbox_release(sandbox);
    }
}

/* ---- The end of one */

static void ended_apart(void *ctx, const struct host_reply *reply) {
    (void)ctx;
    (void)reply; /* what is left is the host's idle timer's */
}

static struct host_call *ask_end(struct host *host, const char *name, int64_t deadline,
                                 void (*done)(void *, const struct host_reply *), void *ctx) {
    char target[SHARED_NAME_SIZE + 32];
    snprintf(target, sizeof target, "/v1/sandboxes/%s", name);
    return host_call(host, &(struct host_call_spec){.method = "DELETE",
                                                    .log_route = "sandboxes/:id",
                                                    .what = "ending the sandbox",
                                                    .target = target,
                                                    .repeatable = true,
                                                    .accepts = 404,
                                                    .deadline = deadline,
                                                    .done = done,
                                                    .ctx = ctx});
}

void shared_end(struct host *host, const char *name) {
    if (testing_off("shared-end")) return;
    struct host_call *call = ask_end(host, name, clock_deadline(END_MS), ended_apart, NULL);
    if (call != NULL && !host_call_apart(call)) host_call_cancel(call);
}

void shared_end_owned(struct host *host) {
    for (struct shared *s = host->shared; s != NULL; s = s->next) {
        if (s->owned && !s->ended) shared_end(host, s->name);
        s->ended = s->ended || s->owned;
    }
}

struct killing {
    struct op *op;
    struct sbx_sandbox *sandbox;
    struct host_call *call;
};

static void killing_ended(struct op *op, sbx_status status) {
    struct killing *k = op->ctx;
    (void)status;
    host_call_cancel(k->call);
    free(k);
}

static void killed(void *ctx, const struct host_reply *reply) {
    struct killing *k = ctx;
    struct op *op = k->op;
    struct sbx_sandbox *sandbox = k->sandbox;
    k->call = NULL;
    if (reply->status != SBX_OK && !reply->dead) {
        sbx_error error = reply->error;
        error_set(&error, reply->error.code, "%s: sandbox %s: %s", op->name, sandbox->id,
                  reply->error.message);
        error.http_status = reply->http_status;
        op_fail(op, &error);
        return;
    }
    struct shared *s = sandbox->machine;
    sandbox_hold(sandbox);
    op_done(op, SBX_OK);
    if (!s->ended) {
        s->ended = true;
        tell(s, true);
        sandbox_died(sandbox, "sandbox %s was ended by sbx_sandbox_kill", sandbox->id);
    }
    sandbox_release(sandbox);
}

static void kill_sandbox(struct op *op, struct sbx_sandbox *sandbox) {
    struct shared *s = sandbox->machine;
    if (s->ended) {
        op_done(op, SBX_OK);
        return;
    }
    struct killing *k = calloc(1, sizeof *k);
    if (k == NULL) {
        op_fail_memory(op);
        return;
    }
    k->op = op;
    k->sandbox = sandbox;
    op->ctx = k;
    op->end = killing_ended;
    k->call = ask_end(s->host, s->name, op->deadline, killed, k);
    if (k->call == NULL) op_fail_memory(op);
}

static void close_sandbox(struct sbx_sandbox *sandbox) {
    struct shared *s = sandbox->machine;
    struct host *host = s->host;
    sandbox->machine = NULL;
    if (s->prev != NULL) {
        s->prev->next = s->next;
    } else {
        host->shared = s->next;
    }
    if (s->next != NULL) s->next->prev = s->prev;
    host_call_cancel(s->doubt);
    if (s->owned && !s->ended) shared_end(host, s->name);
    tell(s, s->owned || s->ended);
    free(s);
    host_release(host);
}

static void describe(const struct sbx_sandbox *sandbox, struct buf *out) {
    const struct shared *s = sandbox->machine;
    const struct job_machine *m = s->host->machine;
    const char *const members[][2] = {{"host", m->job.id},
                                      {"pool", m->job.pool_name},
                                      {"namespace", m->hub_namespace},
                                      {"image", m->job.image},
                                      {"flavor", m->job.flavor}};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        buf_printf(out, ",\"%s\":", members[i][0]);
        json_put_text(out, members[i][1]);
    }
}

const struct provider provider_shared = {
    .name = "jobs",
    .kill = kill_sandbox,
    .close = close_sandbox,
    .describe = describe,
};
