#include "session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "exits.h"
#include "print.h"
#include "signals.h"

static void tell(void *user, sbx_log_level level, const char *event, const sbx_log_field *fields,
                 size_t count) {
    static const char *const levels[] = {"debug", "info", "warning", "error"};
    char text[1024];
    size_t len = 0;
    (void)user;
    for (size_t i = 0; i < count && len < sizeof text; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%s: %s", i ? ", " : " (", fields[i].name,
                                fields[i].value);
    print_error("%s: %s%s%s", levels[level], event, count ? text : "", count ? ")" : "");
}

bool session_open(struct session *s, const char *provider, bool verbose) {
    sbx_error err;
    sbx_client_options options = {SBX_CLIENT_OPTIONS_INIT, .provider = provider, .log = verbose ? tell : NULL,
                                  .log_level = SBX_LOG_INFO};
    *s = (struct session){0};
    if (sbx_client_new(&s->client, &options, &err) || sbx_queue_new(&s->queue, s->client, &err) ||
        sbx_cancel_new(&s->cancel, &err)) {
        session_failed(&err);
        return false;
    }
    return true;
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
    if (done->event) sbx_event_free(done->event);
    if (done->file) sbx_file_info_free(done->file);
    *done = (sbx_completion){SBX_COMPLETION_INIT};
}

sbx_status session_wait(struct session *s, sbx_status started, const void *user, sbx_completion *done,
                        sbx_error *err) {
    *done = (sbx_completion){SBX_COMPLETION_INIT};
    if (started != SBX_PENDING) return started;
    for (;;) {
        if (!session_poll(s, done, NULL, -1)) continue;
        if (done->user == user || !done->user) break; /* no user: the queue itself failed */
        session_release(done);
    }
    if (done->status < 0) *err = done->error;
    return done->status;
}

/* The library names fields of its structs; who typed a command knows options. */
static const struct {
    const char *field, *option;
} NAMES[] = {{"limit_processes", "--processes"},   {"limit_memory", "--memory"}, {"limit_disk", "--disk"},
             {"limit_open_files", "--open-files"}, {"command.tag", "--tag"},     {"cwd", "--workdir"}};

static int say(const sbx_error *err, const char *hint) {
    if (signals_received()) return EXITS_SIGNAL + signals_received();
    const char *text = err->message[0] ? err->message : sbx_status_text(err->code), *option = "";
    size_t name = strncmp(text, "sbx_", 4) == 0 ? strspn(text, "abcdefghijklmnopqrstuvwxyz_") : 0;
    if (name && strncmp(text + name, ": ", 2) == 0) text += name + 2;
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES && !*option; i++) {
        size_t len = strlen(NAMES[i].field);
        if (strncmp(text, NAMES[i].field, len) != 0 || text[len] != ' ') continue;
        option = NAMES[i].option;
        text += len;
    }
    print_error("%s%s%s", option, text, hint);
    return EXITS_FAILED;
}

int session_failed(const sbx_error *err) {
    return say(err, "");
}

int session_not_found(const sbx_error *err) {
    bool ended = err->code == SBX_ERROR_NOT_FOUND || err->code == SBX_ERROR_AGENT;
    return say(err,
               ended ? "; hfsandbox list shows those there are, hfsandbox reap removes what ended ones left"
                     : "");
}

sbx_sandbox *session_connect(struct session *s, const char *id) {
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_call(s, 0, &call);
    if (session_wait(s, sbx_sandbox_connect(NULL, s->client, id, &call, &err), &call, &done, &err) !=
        SBX_OK) {
        session_not_found(&err);
        return NULL;
    }
    return done.sandbox;
}
