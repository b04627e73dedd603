#include "cmd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "exits.h"
#include "json_read.h"
#include "prepare.h"
#include "print.h"
#include "pump.h"
#include "values.h"

#define LOG_PIECE ((size_t)1 << 20)

int cmd_process_exec(struct session *s, const struct options *o) {
    sbx_command command;
    const char **argv;
    if (!prepare_command(&command, &argv, o)) return EXITS_FAILED;
    command.input_open = !o->no_stdin && pump_has_input();
    int code = EXITS_FAILED;
    sbx_sandbox *sandbox = session_connect(s, o->operands[0]);
    if (sandbox) code = pump_run(s, sandbox, &command);
    sbx_sandbox_free(sandbox);
    free(argv);
    return code;
}

int cmd_process_spawn(struct session *s, const struct options *o) {
    sbx_command command;
    const char **argv;
    if (!prepare_command(&command, &argv, o)) return EXITS_FAILED;
    command.background = 1;
    sbx_sandbox *sandbox = session_connect(s, o->operands[0]);
    int code = EXITS_FAILED;
    if (sandbox) {
        sbx_error err;
        sbx_completion done;
        sbx_call call = session_call(s, 0, &call);
        if (session_wait(s, sbx_process_start(NULL, sandbox, &command, &call, &err), &call, &done, &err) !=
            SBX_OK) {
            code = pump_start_failed(s, sandbox, &command, &err);
        } else {
            if (o->json) {
                struct print_json json = {0};
                print_json_begin(&json, '{');
                print_json_member_text(&json, "id", sbx_process_id(done.process));
                print_json_member_number(&json, "pid", sbx_process_pid(done.process));
                print_json_end(&json, '}');
                putchar('\n');
            } else {
                printf("%s\n", sbx_process_id(done.process));
            }
            code = print_end();
            sbx_process_free(done.process);
        }
    }
    sbx_sandbox_free(sandbox);
    free(argv);
    return code;
}

/* ---- ps */

static bool plain_word(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x80 && !(c >= '0' && c <= '9') && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z') &&
            !strchr("%+,-./:=@_", c))
            return false;
    }
    return len > 0;
}

/* The arguments as one would type them into a shell; a shell text as it is. */
static char *command_text(const char *command) {
    struct json_value *argv = *command == '[' ? json_read(command, strlen(command)) : NULL;
    char *text = NULL;
    size_t size = 0;
    FILE *out = argv && argv->type == JSON_ARRAY ? open_memstream(&text, &size) : NULL;
    if (!out) {
        text = print_allocate(strlen(command) + 1);
        strcpy(text, command);
    } else {
        for (const struct json_value *item = argv->first; item; item = item->next) {
            bool plain = item->text && plain_word(item->text, item->len);
            if (!plain) fputc('\'', out);
            for (size_t i = 0; i < item->len; i++) {
                fputs(item->text[i] == '\'' ? "'\\'" : "", out);
                fputc(item->text[i], out);
            }
            if (!plain) fputc('\'', out);
            if (item->next) fputc(' ', out);
        }
        fclose(out);
    }
    json_read_free(argv);
    return text;
}

static void print_state(char *out, size_t size, const sbx_process_info *p) {
    if (p->running) {
        snprintf(out, size, "running");
    } else if (p->timed_out) {
        snprintf(out, size, "timed out");
    } else if (p->signal) {
        const char *name = values_signal_name(p->signal);
        if (name) {
            snprintf(out, size, "SIG%s", name);
        } else {
            snprintf(out, size, "signal %d", p->signal);
        }
    } else {
        snprintf(out, size, "exit %d", p->exit_code);
    }
}

static void print_processes(const sbx_process_list *list) {
    struct print_table *table =
        print_table_new(5, (const char *const[]){"ID", "PID", "STATE", "STARTED", "COMMAND"}, "lrlll");
    for (size_t i = 0; i < sbx_process_list_count(list); i++) {
        const sbx_process_info *p = sbx_process_list_get(list, i);
        char state[64], started[32];
        char *command = command_text(p->command);
        time_t at = (time_t)(p->started_at_ms / 1000);
        struct tm local;
        localtime_r(&at, &local);
        strftime(started, sizeof started, "%Y-%m-%d %H:%M:%S", &local);
        print_state(state, sizeof state, p);
        print_table_cell(table, "%s", p->id);
        print_table_cell(table, "%lld", (long long)p->pid);
        print_table_cell(table, "%s", state);
        print_table_cell(table, "%s", started);
        print_table_cell(table, "%s%s%s%s", p->tag ? "[" : "", p->tag ? p->tag : "", p->tag ? "] " : "",
                         command);
        free(command);
    }
    print_table_end(table);
}

static void print_processes_json(const sbx_process_list *list) {
    struct print_json json = {0};
    print_json_begin(&json, '[');
    for (size_t i = 0; i < sbx_process_list_count(list); i++) {
        const sbx_process_info *p = sbx_process_list_get(list, i);
        print_json_begin(&json, '{');
        print_json_member_text(&json, "id", p->id);
        print_json_member_text(&json, "command", p->command);
        print_json_member_text(&json, "tag", p->tag);
        print_json_member_number(&json, "pid", p->pid);
        print_json_member_number(&json, "started_at_ms", p->started_at_ms);
        print_json_member_bool(&json, "running", p->running);
        print_json_member_code(&json, "exit_code", !p->running && !p->signal, p->exit_code);
        print_json_member_code(&json, "signal", p->signal, p->signal);
        print_json_member_bool(&json, "timed_out", p->timed_out);
        print_json_member_number(&json, "stdout_start", (int64_t)p->stdout_start);
        print_json_member_number(&json, "stdout_end", (int64_t)p->stdout_end);
        print_json_member_number(&json, "stderr_start", (int64_t)p->stderr_start);
        print_json_member_number(&json, "stderr_end", (int64_t)p->stderr_end);
        print_json_end(&json, '}');
    }
    print_json_end(&json, ']');
    putchar('\n');
}

int cmd_process_list(struct session *s, const struct options *o) {
    sbx_sandbox *sandbox = session_connect(s, o->operands[0]);
    if (!sandbox) return EXITS_FAILED;
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_call(s, 0, &call);
    int code;
    if (session_wait(s, sbx_process_list_all(NULL, sandbox, &call, &err), &call, &done, &err) != SBX_OK) {
        code = session_failed(&err);
    } else {
        (o->json ? print_processes_json : print_processes)(done.processes);
        code = print_end();
        session_release(&done);
    }
    sbx_sandbox_free(sandbox);
    return code;
}

/* ---- logs, wait */

static sbx_process *attach(struct session *s, sbx_sandbox *sandbox, const char *id) {
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_call(s, 0, &call);
    if (session_wait(s, sbx_process_attach(NULL, sandbox, id, &call, &err), &call, &done, &err) == SBX_OK)
        return done.process;
    session_failed(&err);
    return NULL;
}

/* What is held of one stream, from an offset on. */
static int print_held(struct session *s, sbx_process *process, sbx_event_type stream, uint64_t from) {
    bool err_stream = stream == SBX_EVENT_STDERR;
    for (;;) {
        sbx_error err;
        sbx_completion done;
        sbx_call call = session_call(s, 0, &call);
        if (session_wait(s, sbx_process_output(NULL, NULL, process, stream, from, LOG_PIECE, &call, &err),
                         &call, &done, &err) != SBX_OK) {
            return session_failed(&err);
        }
        size_t len = sbx_bytes_size(done.bytes);
        uint64_t begin = done.number;
        if (begin > from) {
            print_error("%llu bytes of %s from offset %llu on are no longer held",
                        (unsigned long long)(begin - from), err_stream ? "stderr" : "stdout",
                        (unsigned long long)from);
        }
        int fd = err_stream ? STDERR_FILENO : STDOUT_FILENO;
        int code = print_bytes(fd, sbx_bytes_data(done.bytes), len) ? 0 : print_failed(errno);
        session_release(&done);
        if (code || !len) return code;
        from = begin + len;
    }
}

int cmd_process_logs(struct session *s, const struct options *o) {
    int code = EXITS_FAILED;
    sbx_sandbox *sandbox = session_connect(s, o->operands[0]);
    sbx_process *process = sandbox ? attach(s, sandbox, o->operands[1]) : NULL;
    if (process && o->follow) {
        code = pump_follow(s, process, o->from_stdout, o->from_stderr);
    } else if (process) {
        code = print_held(s, process, SBX_EVENT_STDOUT, o->from_stdout);
        if (!code) code = print_held(s, process, SBX_EVENT_STDERR, o->from_stderr);
    }
    sbx_process_free(process);
    sbx_sandbox_free(sandbox);
    return code;
}

static const sbx_event still_running;

static void print_exit(const char *id, const sbx_event *exit) {
    struct print_json json = {0};
    print_json_begin(&json, '{');
    print_json_member_text(&json, "id", id);
    print_json_member_bool(&json, "running", exit == &still_running);
    print_json_member_code(&json, "exit_code", exit != &still_running && !exit->signal, exit->exit_code);
    print_json_member_code(&json, "signal", exit->signal, exit->signal);
    print_json_member_bool(&json, "timed_out", exit->timed_out);
    print_json_member_number(&json, "duration_ms", exit->duration_ms);
    print_json_member_text(&json, "limit", exit->limit);
    print_json_member_number(&json, "survivors", (int64_t)exit->survivors);
    print_json_end(&json, '}');
    putchar('\n');
}

int cmd_process_wait(struct session *s, const struct options *o) {
    int code = EXITS_FAILED;
    sbx_sandbox *sandbox = session_connect(s, o->operands[0]);
    sbx_process *process = sandbox ? attach(s, sandbox, o->operands[1]) : NULL;
    if (process) {
        sbx_error err;
        sbx_completion done;
        sbx_call call = session_call(s, o->timeout_ms ? o->timeout_ms : SBX_NO_TIMEOUT, &call);
        sbx_status status = session_wait(s, sbx_process_wait(NULL, process, &call, &err), &call, &done, &err);
        if (status == SBX_ERROR_TIMEOUT && o->timeout_ms) {
            print_error("%s still runs: it was waited for no longer than %lld ms", o->operands[1],
                        (long long)o->timeout_ms);
            if (o->json) print_exit(sbx_process_id(process), &still_running);
            code = print_end();
            if (!code) code = EXITS_TIMEOUT;
        } else if (status != SBX_OK) {
            code = session_failed(&err);
        } else {
            if (o->json) print_exit(sbx_process_id(process), done.event);
            code = print_end();
            if (!code) code = pump_exit_code(done.event);
            session_release(&done);
        }
    }
    sbx_process_free(process);
    sbx_sandbox_free(sandbox);
    return code;
}
