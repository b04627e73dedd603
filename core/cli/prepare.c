#include "prepare.h"

#include <string.h>

#include "print.h"

bool prepare_command(sbx_command *out, const char ***argv, const struct options *options) {
    *out = (sbx_command){SBX_COMMAND_INIT, .env = (const char *const *)options->env, .cwd = options->cwd,
                         .timeout_ms = options->timeout_ms, .tag = options->tag};
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

sbx_sandbox_options prepare_sandbox(const struct options *options, bool detached) {
    return (sbx_sandbox_options){SBX_SANDBOX_OPTIONS_INIT,
                                 .isolation = options->isolation,
                                 .network = options->network,
                                 .binds = options->binds,
                                 .bind_count = options->bind_count,
                                 .env = detached ? (const char *const *)options->env : NULL,
                                 .cwd = detached ? options->cwd : NULL,
                                 .detached = detached,
                                 .idle_timeout_ms = options->idle_timeout_ms,
                                 .limit_processes = options->processes,
                                 .limit_memory = options->memory,
                                 .limit_disk = options->disk,
                                 .limit_open_files = options->open_files};
}

sbx_sandbox *prepare_create(struct session *s, const sbx_sandbox_options *options) {
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_call(s, 0, &call);
    if (session_wait(s, sbx_sandbox_create(NULL, s->client, options, &call, &err), &call, &done, &err) !=
        SBX_OK) {
        session_failed(&err);
        return NULL;
    }
    return done.sandbox;
}
