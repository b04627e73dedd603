#include "cmd.h"

#include <signal.h>
#include <string.h>
#include <time.h>

#include "ask.h"
#include "exits.h"
#include "listing.h"
#include "pools.h"
#include "print.h"

#define SURVIVORS_MS 5000

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
        return session_not_found(s, id, &err);
    print_result(o, id, "ended", 1);
    return 0;
}

static bool is_kill(const struct options *o) {
    return (!o->signal || o->signal == SIGKILL) && !o->leader;
}

/* Of a command that was killed: processes that outlived it. */
static size_t count_survivors(struct session *s, sbx_process *process) {
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_call(s, SURVIVORS_MS, &call);
    if (session_wait(s, sbx_process_wait(NULL, process, &call, &err), &call, &done, &err) != SBX_OK) return 0;
    size_t survivors = done.event->survivors;
    session_release(&done);
    if (survivors) {
        print_error(
            "%zu process%s of %s, or not to be told from them, could not be killed; end the sandbox to "
            "end them",
            survivors, survivors == 1 ? "" : "es", sbx_process_id(process));
    }
    return survivors;
}

/* One command; the agent kills a tree again and again until none of it is left, and any other signal is sent
 * once. */
static sbx_status signal_process(struct session *s, sbx_sandbox *sandbox, const char *id,
                                 const struct options *o, uint64_t *signalled, size_t *survivors,
                                 sbx_error *err) {
    sbx_completion done;
    sbx_call attach = session_call(s, 0, &attach);
    sbx_status status =
        session_wait(s, sbx_process_attach(NULL, sandbox, id, &attach, err), &attach, &done, err);
    if (status != SBX_OK) return status;
    sbx_process *process = done.process;
    sbx_call call = session_call(s, 0, &call);
    sbx_status started = is_kill(o) ? sbx_process_kill(NULL, process, &call, err)
                                    : sbx_process_signal(NULL, process, o->signal ? o->signal : SIGKILL,
                                                         !o->leader, &call, err);
    status = session_wait(s, started, &call, &done, err);
    if (status == SBX_OK) *signalled += done.number;
    if (status == SBX_OK && is_kill(o)) *survivors += count_survivors(s, process);
    sbx_process_free(process);
    return status;
}

static sbx_process_list *list(struct session *s, sbx_sandbox *sandbox, int *code) {
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_call(s, 0, &call);
    if (session_wait(s, sbx_process_list_all(NULL, sandbox, &call, &err), &call, &done, &err) == SBX_OK)
        return done.processes;
    *code = session_failed(&err);
    return NULL;
}

static bool has_ended(const sbx_process_list *processes, const char *id) {
    for (size_t i = 0; i < sbx_process_list_count(processes); i++) {
        const sbx_process_info *process = sbx_process_list_get(processes, i);
        if (strcmp(process->id, id) == 0) return !process->running;
    }
    return false;
}

static int kill_process(struct session *s, sbx_sandbox *sandbox, const struct options *o) {
    const char *id = o->operands[1];
    sbx_error err;
    int code = 0;
    uint64_t signalled = 0;
    size_t survivors = 0;
    sbx_process_list *before = list(s, sandbox, &code);
    if (!before) return code;
    bool ended = has_ended(before, id);
    sbx_process_list_free(before);
    if (signal_process(s, sandbox, id, o, &signalled, &survivors, &err) != SBX_OK)
        return session_failed(&err);
    if (!signalled && !survivors) {
        print_error("%s had ended already, and nothing that it started is left", id);
        return EXITS_FAILED;
    }
    if (ended && signalled) {
        print_error("%s had ended already; %llu process%s that it had left behind %s killed", id,
                    (unsigned long long)signalled, signalled == 1 ? "" : "es",
                    signalled == 1 ? "was" : "were");
    }
    print_result(o, id, is_kill(o) ? "killed" : "signalled", signalled);
    return survivors ? EXITS_FAILED : 0;
}

/* A kill is also for what ended commands have left behind. */
static int kill_processes(struct session *s, sbx_sandbox *sandbox, const struct options *o) {
    int code = 0;
    uint64_t signalled = 0;
    size_t survivors = 0;
    sbx_process_list *all = list(s, sandbox, &code);
    for (size_t i = 0; i < sbx_process_list_count(all); i++) {
        sbx_error err;
        const sbx_process_info *process = sbx_process_list_get(all, i);
        if (!process->running && !is_kill(o)) continue;
        sbx_status status = signal_process(s, sandbox, process->id, o, &signalled, &survivors, &err);
        bool gone = status == SBX_ERROR_NOT_FOUND || status == SBX_ERROR_CONFLICT; /* it ended meanwhile */
        if (status != SBX_OK && !gone) code = session_failed(&err);
    }
    sbx_process_list_free(all);
    if (!code) print_result(o, o->operands[0], is_kill(o) ? "killed" : "signalled", signalled);
    return survivors ? EXITS_FAILED : code;
}

/* Whether all of them shall end. What is only left of ended ones is nobody's loss. */
static bool asked(const struct listing *all) {
    const char *owner = "this computer";
    size_t living = 0, pools = sbx_pool_list_count(all->pools);
    for (size_t i = 0; i < all->count; i++) {
        const sbx_sandbox_info_row *row = all->rows[i];
        living += row->running || row->stage;
        if (row->hub_namespace) owner = row->hub_namespace;
    }
    if (pools) owner = sbx_pool_list_get(all->pools, 0)->hub_namespace;
    if (!living && !pools) return true;
    if (pools) {
        print_question("end %zu sandbox%s and %zu pool%s of %s?", living, living == 1 ? "" : "es", pools,
                       pools == 1 ? "" : "s", owner);
    } else {
        print_question("end %zu sandbox%s of %s?", living, living == 1 ? "" : "es", owner);
    }
    if (ask_answer()) return true;
    print_error("nothing was ended");
    return false;
}

/* Of jobs: with their hosts. Those that there are now, unless some were named. */
static int end_pools(struct session *s, const sbx_pool_list *named, uint64_t *ended) {
    int code = 0;
    sbx_error err;
    sbx_completion found = {SBX_COMPLETION_INIT}, done;
    sbx_call list = session_call(s, 0, &list);
    if (!named &&
        session_wait(s, sbx_pool_list_all(NULL, s->client, NULL, &list, &err), &list, &found, &err) != SBX_OK)
        return session_failed(&err);
    const sbx_pool_list *pools = named ? named : found.pools;
    for (size_t i = 0; i < sbx_pool_list_count(pools) && !s->canceled; i++) {
        sbx_pool *pool = pools_handle(s, NULL, sbx_pool_list_get(pools, i)->name);
        sbx_call call = session_call(s, 0, &call);
        if (!pool) {
            code = EXITS_FAILED;
        } else if (session_wait(s, sbx_pool_delete(NULL, pool, &call, &err), &call, &done, &err) < 0) {
            code = session_failed(&err);
        } else {
            *ended += done.number;
        }
        sbx_pool_free(pool);
    }
    session_release(&found);
    return code;
}

static int64_t clock_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static int kill_all(struct session *s, const struct options *o) {
    sbx_filter which = {SBX_FILTER_INIT};
    struct listing all = {0};
    int64_t begun = clock_ms();
    if (!o->yes && !ask_possible()) {
        print_error("--all without an id ends every sandbox of yours: with -y (--yes) it does so without "
                    "asking, which needs a terminal");
        return EXITS_FAILED;
    }
    if (!o->yes && !listing_open(&all, s, &which)) return EXITS_FAILED;
    if (!o->yes && !asked(&all)) {
        listing_close(&all);
        return EXITS_FAILED;
    }
    /* Those that were made since the question are not among those that were named. */
    which.min_age_ms = o->yes ? 0 : clock_ms() - begun;
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_call(s, 0, &call);
    int code = 0;
    if (session_wait(s, sbx_reap(NULL, s->client, &which, &call, &err), &call, &done, &err) < 0)
        code = session_failed(&err);
    uint64_t ended = done.number;
    if (strcmp(options_provider(o->provider), "jobs") == 0 && !s->canceled) {
        int pools = end_pools(s, all.pools, &ended);
        if (!code) code = pools;
    }
    listing_close(&all);
    if (!code && o->json) printf("{\"ended\":%llu}\n", (unsigned long long)ended);
    return code;
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
