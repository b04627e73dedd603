#include "cmd.h"

#include <stdio.h>

#include "exits.h"
#include "prepare.h"
#include "print.h"

/* A detached sandbox. When its id cannot be said to anyone it is ended again. */
int cmd_create(struct session *s, const struct options *o) {
    sbx_sandbox *sandbox = prepare_create(s, o, true);
    if (!sandbox) return EXITS_FAILED;
    if (o->json) {
        struct print_json json = {0};
        print_json_begin(&json, '{');
        print_json_member_text(&json, "id", sbx_sandbox_id(sandbox));
        print_json_end(&json, '}');
        putchar('\n');
    } else {
        printf("%s\n", sbx_sandbox_id(sandbox));
    }
    int code = print_end();
    if (code) {
        sbx_error err;
        sbx_completion done;
        sbx_call call = session_last_call(s, 0, &call);
        session_wait(s, sbx_sandbox_kill(sandbox, &call, &err), &call, &done, &err);
    }
    sbx_sandbox_free(sandbox);
    return code;
}
