#include "session.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "exits.h"
#include "options.h"
#include "print.h"
#include "progress.h"
#include "signals.h"

static void tell(void *user, sbx_log_level level, const char *event, const sbx_log_field *fields,
                 size_t count) {
    static const char *const levels[] = {"debug", "info", "warning", "error"};
    const struct session *s = user;
    if (!s->verbose) {
        progress_event(event, fields, count);
        return;
    }
    char text[1024];
    size_t len = 0;
    for (size_t i = 0; i < count && len < sizeof text; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%s: %s", i ? ", " : " (", fields[i].name,
                                fields[i].value);
    print_error("%s: %s%s%s", levels[level], event, count ? text : "", count ? ")" : "");
}

sbx_status session_try(struct session *s, const char *provider, bool verbose, sbx_error *err) {
    *s = (struct session){.verbose = verbose, .provider = provider};
    sbx_client_options options = {SBX_CLIENT_OPTIONS_INIT, .provider = provider, .log = tell, .log_user = s,
                                  .log_level = SBX_LOG_INFO};
    sbx_status status = sbx_client_new(&s->client, &options, err);
    if (status == SBX_OK) status = sbx_queue_new(&s->queue, s->client, err);
    if (status == SBX_OK) status = sbx_cancel_new(&s->cancel, err);
    return status;
}

bool session_open(struct session *s, const char *provider, bool verbose) {
    sbx_error err;
    if (session_try(s, provider, verbose, &err) == SBX_OK) return true;
    session_failed(&err);
    return false;
}

void session_close(struct session *s) {
    sbx_queue_free(s->queue);
    sbx_cancel_free(s->cancel);
    sbx_client_free(s->client);
}

sbx_call session_call(struct session *s, int64_t timeout_ms, void *user) {
    return (sbx_call){SBX_CALL_INIT, .timeout_ms = timeout_ms, .cancel = s->cancel, .queue = s->queue,
                      .user = user};
}

sbx_call session_last_call(struct session *s, int64_t timeout_ms, void *user) {
    return (sbx_call){SBX_CALL_INIT, .timeout_ms = timeout_ms, .queue = s->queue, .user = user};
}

int session_poll(struct session *s, sbx_completion *done, struct pollfd *extra, int timeout_ms) {
    for (;;) {
        signals_drain();
        if (signals_received() && !s->canceled && (!s->passes || signals_again())) {
            s->canceled = true;
            sbx_cancel_now(s->cancel);
        }
        if (signals_received() && s->passes && !s->told) {
            s->told = true;
            return 0;
        }
        *done = (sbx_completion){SBX_COMPLETION_INIT};
        sbx_status status = sbx_queue_next(done, s->queue, 0, NULL);
        if (status == SBX_OK) return 1;
        if (status != SBX_DONE) { /* nothing can be waited for any more: the caller's call counts as failed */
            *done = (sbx_completion){SBX_COMPLETION_INIT, .status = status, .error = {.code = status}};
            strcpy(done->error.message, sbx_status_text(status));
            return 1;
        }
        struct pollfd ready[3] = {{.fd = sbx_queue_fd(s->queue), .events = POLLIN},
                                  {.fd = signals_fd(), .events = POLLIN},
                                  {.fd = -1}};
        if (extra) ready[2] = *extra;
        int count = poll(ready, 3, timeout_ms);
        if (count < 0 && (errno != EINTR || timeout_ms >= 0))
            return 0; /* the caller knows how long is left */
        if (count < 0 || ready[1].revents) continue;
        if (extra) extra->revents = ready[2].revents;
        if (count == 0 || ready[2].revents) return 0;
    }
}

void session_release(sbx_completion *done) {
    sbx_sandbox_free(done->sandbox);
    sbx_process_free(done->process);
    sbx_result_free(done->result);
    sbx_bytes_free(done->bytes);
    sbx_file_list_free(done->files);
    sbx_process_list_free(done->processes);
    sbx_sandbox_list_free(done->sandboxes);
    sbx_hardware_list_free(done->hardware);
    sbx_pool_free(done->pool);
    sbx_pool_list_free(done->pools);
    if (done->event) sbx_event_free(done->event);
    if (done->file) sbx_file_info_free(done->file);
    *done = (sbx_completion){SBX_COMPLETION_INIT};
}

sbx_status session_wait(struct session *s, sbx_status started, const void *user, sbx_completion *done,
                        sbx_error *err) {
    *done = (sbx_completion){SBX_COMPLETION_INIT};
    if (started != SBX_PENDING) return started;
    for (;;) {
        if (!session_poll(s, done, NULL, progress_wait_ms())) {
            progress_draw();
            continue;
        }
        if (done->user == user || !done->user) break; /* no user: the queue itself failed */
        session_release(done);
    }
    if (done->status < 0) *err = done->error;
    return done->status;
}

/* The library names fields of its structs and functions; who typed a command knows options and commands. Of
 * an ordinary word only the first one of a message is a field for sure. */
static const struct {
    const char *field, *option;
    bool anywhere;
} NAMES[] = {{"limit_processes", "--processes", true},
             {"limit_memory", "--memory", true},
             {"limit_disk", "--disk", true},
             {"limit_open_files", "--open-files", true},
             {"command.tag", "--tag", false},
             {"sbx_command.cwd", "exec --workdir", true},
             {"cwd", "--workdir", false},
             {"isolation", "--isolation", false},
             {"network", "--network", false},
             {"image", "--image", false},
             {"flavor", "--flavor", false},
             {"env", "--env", false},
             {"secrets", "--secret", false},
             {"labels", "--label", false},
             {"ports", "--expose", false},
             {"port_count", "the number of --expose", true},
             {"client_key", "--client-key", true},
             {"hub_namespace", "--namespace", true},
             {"forward_hf_token", "--forward-hf-token", true},
             {"lifetime_ms", "--lifetime", true},
             {"max_cost_micro_usd", "--max-cost", true},
             {"idle_timeout_ms", "--idle-timeout", true},
             {"name", "the name", false},
             {"max_hosts", "--max-hosts of hfsandbox pool create", true},
             {"and boot a host that says so to others", "with --warm for as many hosts", true},
             {"sandboxes_per_host", "--per-host", true},
             {"make it larger", "make it larger with hfsandbox pool create", true},
             {"sbx_hardware_list_all", "hfsandbox hardware", true},
             {"sbx_sandbox_id", "hfsandbox list", true},
             {"give the option hub_token, ", "", true},
             {"give it as the option hub_token, or ", "", true},
             {", or give the option hub_token", "", true}};

static void translate(char *out, size_t size, const char *text) {
    size_t len = 0;
    bool begins = true;
    for (const char *at = text; *at && len + 1 < size; begins = false) {
        const char *word = NULL;
        bool inner = !begins && (isalnum((unsigned char)at[-1]) || at[-1] == '_' || at[-1] == '.');
        for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES && !word && !inner; i++) {
            size_t name = strlen(NAMES[i].field);
            char behind = strncmp(at, NAMES[i].field, name) == 0 ? at[name] : '_';
            if (isalnum((unsigned char)behind) && at[name - 1] != ' ') behind = '_';
            if (behind == '_' || (!NAMES[i].anywhere && (!begins || (behind != ' ' && behind != '['))))
                continue;
            word = NAMES[i].option;
            at += name;
            if (behind == '[') at += strcspn(at, "]") + (strchr(at, ']') != NULL);
        }
        if (word) {
            len += (size_t)snprintf(out + len, size - len, "%s", word);
        } else {
            out[len++] = *at++;
        }
    }
    out[len < size ? len : size - 1] = 0;
}

void session_text(char *out, size_t size, const sbx_error *err) {
    const char *from = err->message[0] ? err->message : sbx_status_text(err->code);
    size_t name = strncmp(from, "sbx_", 4) == 0 ? strspn(from, "abcdefghijklmnopqrstuvwxyz_") : 0;
    if (name && strncmp(from + name, ": ", 2) == 0) from += name + 2;
    translate(out, size, from);
}

static int say(const sbx_error *err, const char *hint) {
    char text[1024];
    progress_end();
    if (signals_received()) return EXITS_SIGNAL + signals_received();
    session_text(text, sizeof text, err);
    print_error("%s%s", text, hint);
    return EXITS_FAILED;
}

int session_failed(const sbx_error *err) {
    return say(err, "");
}

int session_not_found(const struct session *s, const char *id, const sbx_error *err) {
    const char *hint = "";
    if (err->code == SBX_ERROR_NOT_FOUND || err->code == SBX_ERROR_AGENT) {
        hint = strcmp(options_provider(s->provider), "jobs") != 0
                   ? "; hfsandbox list shows those there are, hfsandbox reap removes what ended ones left"
               : strchr(id, '/')
                   ? "; hfsandbox list --namespace shows those there are"
                   : "; hfsandbox list shows those there are, and NAMESPACE/ID is the id of one "
                     "of an organization";
    }
    return say(err, hint);
}

sbx_sandbox *session_connect_within(struct session *s, const char *id, int64_t timeout_ms) {
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_call(s, timeout_ms, &call);
    if (!s->verbose) progress_begin(id);
    sbx_status status =
        session_wait(s, sbx_sandbox_connect(NULL, s->client, id, &call, &err), &call, &done, &err);
    progress_end();
    if (status == SBX_OK) return done.sandbox;
    session_not_found(s, id, &err);
    return NULL;
}

sbx_sandbox *session_connect(struct session *s, const char *id) {
    return session_connect_within(s, id, 0);
}
