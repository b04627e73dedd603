#include "cmd.h"

#include <stdlib.h>

#include "exits.h"
#include "prepare.h"
#include "pump.h"
#include "signals.h"

#define END_MS 30000

/* One command in a sandbox of its own, which ends with it. */
int cmd_run(struct session *s, const struct options *o) {
    sbx_command command;
    const char **argv;
    if (!prepare_command(&command, &argv, o)) return EXITS_FAILED;
    command.input_open = !o->no_stdin && pump_has_input();

    int code = EXITS_FAILED;
    sbx_sandbox *sandbox = prepare_create(s, o, false);
    if (sandbox) {
        code = pump_run(s, sandbox, &command);
        sbx_error err;
        sbx_completion done;
        sbx_call call = session_last_call(s, END_MS, &call);
        sbx_status status = session_wait(s, sbx_sandbox_kill(sandbox, &call, &err), &call, &done, &err);
        if (status < 0 && !signals_received()) code = session_failed(&err);
        sbx_sandbox_free(sandbox);
    }
    free(argv);
    return code;
}
