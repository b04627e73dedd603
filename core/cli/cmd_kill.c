#include "cmd.h"

#include <signal.h>
#include <string.h>

#include "exits.h"
#include "print.h"

static void print_result(const struct options *o, const char *id, const char *name, uint64_t number) {
    struct print_json json = {0};
    if (!o->json) return;
    print_json_begin(&json, '{');
    print_json_member_text(&json, "id", id);
    print_json_member_number(&json, name, (int64_t)number);
    print_json_end(&json, '}');
    putchar('\n');
}

static int kill_sandbox(struct session *s, const char *id, const struct options *o) {
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_call(s, 0, &call);
    if (session_wait(s, sbx_sandbox_kill_by_id(s->client, id, &call, &err), &call, &done, &err) < 0)
        return session_failed(&err);
    print_result(o, id, "ended", 1);
    return 0;
}

/* One process; the agent kills a tree again and again until none of it is left, and any other signal is sent
 * once. */
static int signal_process(struct session *s, sbx_sandbox *sandbox, const char *id, const struct options *o,
                          uint64_t *signalled) {
    int number = o->signal ? o->signal : SIGKILL;
    sbx_error err;
    sbx_completion done;
    sbx_call attach = session_call(s, 0, &attach);
    if (session_wait(s, sbx_process_attach(NULL, sandbox, id, &attach, &err), &attach, &done, &err) !=
        SBX_OK) {
        return session_failed(&err);
    }
    sbx_process *process = done.process;
    sbx_call call = session_call(s, 0, &call);
    sbx_status started = number == SIGKILL && !o->leader
                             ? sbx_process_kill(NULL, process, &call, &err)
                             : sbx_process_signal(NULL, process, number, !o->leader, &call, &err);
    int code = session_wait(s, started, &call, &done, &err) < 0 ? session_failed(&err) : 0;
    if (!code) *signalled += done.number;
    sbx_process_free(process);
    return code;
}

/* A kill counts commands, with whatever they started; any other signal counts processes. */
static const char *counted(const struct options *o) {
    return (o->signal && o->signal != SIGKILL) || o->leader ? "signalled" : "killed";
}

static int kill_process(struct session *s, sbx_sandbox *sandbox, const struct options *o) {
    uint64_t signalled = 0;
    int code = signal_process(s, sandbox, o->operands[1], o, &signalled);
    if (code) return code;
    if (!signalled) {
        print_error("%s had ended already", o->operands[1]);
        return EXITS_FAILED;
    }
    print_result(o, o->operands[1], counted(o), signalled);
    return 0;
}

static int kill_processes(struct session *s, sbx_sandbox *sandbox, const struct options *o) {
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_call(s, 0, &call);
    if (session_wait(s, sbx_process_list_all(NULL, sandbox, &call, &err), &call, &done, &err) != SBX_OK)
        return session_failed(&err);
    uint64_t signalled = 0;
    int code = 0;
    for (size_t i = 0; i < sbx_process_list_count(done.processes); i++) {
        const sbx_process_info *process = sbx_process_list_get(done.processes, i);
        if (!process->running) continue;
        int one = signal_process(s, sandbox, process->id, o, &signalled);
        if (one) code = one;
    }
    session_release(&done);
    if (!code) print_result(o, o->operands[0], counted(o), signalled);
    return code;
}

static int kill_all(struct session *s, const struct options *o) {
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_call(s, 0, &call);
    if (session_wait(s, sbx_reap(NULL, s->client, 0, &call, &err), &call, &done, &err) < 0)
        return session_failed(&err);
    if (o->json) {
        printf("{\"ended\":%llu}\n", (unsigned long long)done.number);
    }
    return 0;
}

int cmd_kill(struct session *s, const struct options *o) {
    if (!o->operand_count && !o->all) {
        print_error("which one? give the id of a sandbox (hfsandbox list shows them), or --all");
        return EXITS_FAILED;
    }
    if (o->operand_count == 2 && o->all) {
        print_error("give a process or --all, not both");
        return EXITS_FAILED;
    }
    if ((o->signal || o->leader) && (!o->operand_count || (o->operand_count == 1 && !o->all))) {
        print_error("--signal and --leader are for processes: give one, or an id and --all; a sandbox is "
                    "always ended whole");
        return EXITS_FAILED;
    }
    int code;
    if (!o->operand_count) {
        code = kill_all(s, o);
    } else if (o->operand_count == 1 && !o->all) {
        code = kill_sandbox(s, o->operands[0], o);
    } else {
        sbx_sandbox *sandbox = session_connect(s, o->operands[0]);
        if (!sandbox) return EXITS_FAILED;
        code = o->operand_count == 2 ? kill_process(s, sandbox, o) : kill_processes(s, sandbox, o);
        sbx_sandbox_free(sandbox);
    }
    int written = print_end();
    return code ? code : written;
}
