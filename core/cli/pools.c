#include "pools.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "exits.h"
#include "prepare.h"
#include "print.h"
#include "progress.h"

#define DAY_MS ((int64_t)24 * 3600 * 1000)

static bool is_jobs(const struct session *s) {
    return strcmp(options_provider(s->provider), "jobs") == 0;
}

bool pools_parse(struct pools_name *out, const struct options *o, const char *text) {
    const char *slash = strchr(text, '/');
    size_t owner = slash ? (size_t)(slash - text) : 0;
    *out = (struct pools_name){.hub_namespace = o->hub_namespace, .name = text};
    if (!slash) return true;
    if (!owner || !slash[1] || owner >= sizeof out->text) {
        print_error("'%s' is no name of a pool: write NAME, or NAMESPACE/NAME", text);
        return false;
    }
    if (o->hub_namespace &&
        (strlen(o->hub_namespace) != owner || memcmp(o->hub_namespace, text, owner) != 0)) {
        print_error("pool '%s' is in another namespace than --namespace %s says: leave one of them out", text,
                    o->hub_namespace);
        return false;
    }
    memcpy(out->text, text, owner);
    out->hub_namespace = out->text;
    out->name = slash + 1;
    return true;
}

int64_t pools_start_ms(const struct session *s, const struct options *o) {
    if (!is_jobs(s)) return 0;
    return o->start_timeout_ms == SBX_NO_TIMEOUT ? 366 * DAY_MS : o->start_timeout_ms;
}

sbx_status pools_try(sbx_pool **out, struct session *s, const char *name, const sbx_pool_options *options,
                     int64_t timeout_ms, sbx_error *err) {
    sbx_completion done;
    sbx_call call = session_call(s, timeout_ms, &call);
    sbx_status status =
        session_wait(s, sbx_pool_connect(NULL, s->client, name, options, &call, err), &call, &done, err);
    *out = status == SBX_OK ? done.pool : NULL;
    return status;
}

sbx_pool *pools_handle(struct session *s, const char *hub_namespace, const char *name) {
    sbx_error err;
    sbx_completion done;
    sbx_pool_options options = {SBX_POOL_OPTIONS_INIT, .name = name, .warm = -1, .detached = 1,
                                .hub_namespace = hub_namespace};
    sbx_call call = session_call(s, 0, &call);
    if (session_wait(s, sbx_pool_create(NULL, s->client, &options, &call, &err), &call, &done, &err) ==
        SBX_OK)
        return done.pool;
    session_failed(&err);
    return NULL;
}

static void say_failed(const struct session *s, const char *text, const sbx_error *err) {
    if (err->code != SBX_ERROR_NOT_FOUND) {
        session_failed(err);
        return;
    }
    sbx_error said = {.code = err->code};
    snprintf(said.message, sizeof said.message,
             "there is no pool '%.120s'%s: hfsandbox pool list shows those there are, hfsandbox pool create "
             "--name makes one",
             text, is_jobs(s) ? ", or its hosts have ended" : " on this computer");
    session_failed(&said);
}

static int64_t clock_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static sbx_pool *connect(struct session *s, const struct options *o, const char *text, int64_t timeout_ms) {
    struct pools_name name;
    sbx_error err;
    sbx_pool *pool;
    if (!pools_parse(&name, o, text)) return NULL;
    sbx_pool_options options = {SBX_POOL_OPTIONS_INIT, .hub_namespace = name.hub_namespace,
                                .spread = o->spread, .start_timeout_ms = pools_start_ms(s, o)};
    if (pools_try(&pool, s, name.name, &options, timeout_ms, &err) != SBX_OK) say_failed(s, text, &err);
    return pool;
}

sbx_pool *pools_connect(struct session *s, const struct options *o, const char *text) {
    return connect(s, o, text, 0);
}

/* One deadline for both: finding the pool, and making the sandbox. */
sbx_sandbox *pools_sandbox(struct session *s, const struct options *o, bool detached) {
    sbx_error err;
    sbx_completion done = {SBX_COMPLETION_INIT};
    sbx_sandbox_options options = prepare_sandbox(o, detached);
    int64_t begun = clock_ms(), timeout = o->start_timeout_ms;
    options.hub_namespace = NULL; /* the pool's */
    if (!s->verbose) progress_begin(NULL);
    sbx_pool *pool = connect(s, o, o->pool, timeout);
    if (pool) {
        if (timeout > 0) {
            timeout -= clock_ms() - begun;
            if (timeout < 1) timeout = 1;
        }
        sbx_call call = session_call(s, timeout, &call);
        sbx_status status =
            session_wait(s, sbx_pool_sandbox(NULL, pool, &options, &call, &err), &call, &done, &err);
        if (status != SBX_OK) session_failed(&err);
    }
    progress_end();
    sbx_pool_free(pool);
    return done.sandbox;
}
