#include "prepare.h"

#include <string.h>

#include "pools.h"
#include "print.h"
#include "progress.h"

bool prepare_command(sbx_command *out, const char ***argv, const struct options *options) {
    *out = (sbx_command){SBX_COMMAND_INIT, .env = (const char *const *)options->env.items,
                         .cwd = options->cwd, .timeout_ms = options->timeout_ms, .tag = options->tag};
    *argv = NULL;
    if (options->shell && !options->rest_count) {
        out->shell = options->shell;
    } else if (options->shell) { /* further words are the shell text's own arguments: "$1" and so on */
        *argv = print_allocate((options->rest_count + 5) * sizeof **argv);
        const char *const front[] = {"/bin/sh", "-c", options->shell, "sh"};
        memcpy(*argv, front, sizeof front);
        memcpy(*argv + 4, options->rest, options->rest_count * sizeof **argv);
        out->argv = *argv;
    } else if (options->rest_count) {
        out->argv = options->rest;
    } else {
        print_error("no command to run: put it behind --, or give a shell text with -c");
        return false;
    }
    return true;
}

static const char *const *items(const struct options_list *list) {
    return (const char *const *)list->items;
}

sbx_sandbox_options prepare_sandbox(const struct options *o, bool detached) {
    return (sbx_sandbox_options){SBX_SANDBOX_OPTIONS_INIT,
                                 .isolation = o->isolation,
                                 .network = o->network,
                                 .binds = o->binds,
                                 .bind_count = o->bind_count,
                                 .env = detached ? items(&o->env) : NULL,
                                 .cwd = detached ? o->cwd : NULL,
                                 .detached = detached,
                                 .idle_timeout_ms = o->idle_timeout_ms,
                                 .limit_processes = o->processes,
                                 .limit_memory = o->memory,
                                 .limit_disk = o->disk,
                                 .limit_open_files = o->open_files,
                                 .image = o->image,
                                 .flavor = o->flavor,
                                 .secrets = items(&o->secrets),
                                 .volumes = items(&o->volumes),
                                 .labels = items(&o->labels),
                                 .hub_namespace = o->hub_namespace,
                                 .lifetime_ms = o->lifetime_ms,
                                 .max_cost_micro_usd = o->max_cost_micro_usd,
                                 .ports = o->ports,
                                 .port_count = o->port_count,
                                 .forward_hf_token = o->forward_hf_token,
                                 .client_key = o->client_key};
}

sbx_sandbox *prepare_create(struct session *s, const struct options *o, bool detached) {
    sbx_error err;
    sbx_completion done;
    if (o->pool) return pools_sandbox(s, o, detached);
    sbx_sandbox_options options = prepare_sandbox(o, detached);
    sbx_call call = session_call(s, o->start_timeout_ms, &call);
    if (!s->verbose) progress_begin(NULL);
    sbx_status status =
        session_wait(s, sbx_sandbox_create(NULL, s->client, &options, &call, &err), &call, &done, &err);
    progress_end();
    if (status == SBX_OK) return done.sandbox;
    session_failed(&err);
    return NULL;
}
