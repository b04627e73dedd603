#include "cmd.h"

#include <string.h>

#include "exits.h"
#include "json_read.h"
#include "print.h"

static const char *text_of(const struct json_value *info, const char *name) {
    const struct json_value *value = info ? json_read_member(info, name) : NULL;
    return value ? value->text : NULL;
}

static void print_member(const char *name, const char *text) {
    if (!text) return;
    printf("%s: ", name);
    print_text(stdout, text, strlen(text));
    putchar('\n');
}

/* The timings are of this call: how long it was waited for the job to run and for its agent to answer. */
static void print_connected(const struct options *o, sbx_sandbox *sandbox, const struct json_value *info,
                            const sbx_timings *timings) {
    static const char *const names[] = {"provider", "image", "flavor"};
    struct print_json json = {0};
    if (!o->json) {
        print_member("id", sbx_sandbox_id(sandbox));
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            print_member(names[i], text_of(info, names[i]));
        if (timings->running_ms >= 0) printf("running after: %.1f s\n", (double)timings->running_ms / 1000);
        if (timings->answered_ms >= 0)
            printf("answered after: %.1f s\n", (double)timings->answered_ms / 1000);
        return;
    }
    print_json_begin(&json, '{');
    print_json_member_text(&json, "id", sbx_sandbox_id(sandbox));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        print_json_member_text(&json, names[i], text_of(info, names[i]));
    print_json_member_code(&json, "running_ms", timings->running_ms >= 0, timings->running_ms);
    print_json_member_code(&json, "answered_ms", timings->answered_ms >= 0, timings->answered_ms);
    print_json_end(&json, '}');
    putchar('\n');
}

int cmd_connect(struct session *s, const struct options *o) {
    sbx_sandbox *sandbox = session_connect_within(s, o->operands[0], o->start_timeout_ms);
    if (!sandbox) return EXITS_FAILED;
    sbx_error err;
    sbx_completion done;
    sbx_timings timings = {SBX_TIMINGS_INIT};
    struct json_value *info = NULL;
    sbx_call call = session_call(s, 0, &call);
    sbx_status status = session_wait(s, sbx_sandbox_info(NULL, sandbox, &call, &err), &call, &done, &err);
    if (status == SBX_OK) info = json_read(sbx_bytes_data(done.bytes), sbx_bytes_size(done.bytes));
    session_release(&done);
    int code = EXITS_FAILED;
    if (status == SBX_OK || status == SBX_ERROR_UNSUPPORTED) { /* the Hub's own agent tells nothing */
        sbx_sandbox_timings(&timings, sandbox, NULL);
        print_connected(o, sandbox, info, &timings);
        code = print_end();
    } else {
        code = session_failed(&err);
    }
    json_read_free(info);
    sbx_sandbox_free(sandbox);
    return code;
}
