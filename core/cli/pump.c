#include "pump.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#ifdef __linux__
#include <sys/sysmacros.h>
#endif
#include <time.h>
#include <unistd.h>

#include "exits.h"
#include "print.h"
#include "signals.h"
#include "values.h"

#define PIECE         ((size_t)512 << 10) /* of input: one is read while another is on its way */
#define CLEANUP_MS    10000
#define GRACE_MS      10000 /* for a command to act upon the signal that was passed on to it */
#define FOREGROUND_MS 250   /* how often a background job looks whether the terminal is its own again */

struct pump {
    struct session *session;
    sbx_process *process;
    uint64_t from[2];
    bool begun[2];                /* the first bytes have come */
    bool reading, ended, writing; /* standard input is open; its end was sent; a write of it is under way */
    size_t held;                  /* bytes in input[filling] */
    int filling;
    char input[2][PIECE];
    sbx_error input_error; /* code 0 = none */
    int read_error;        /* of standard input: an errno; 0 = none */
    int64_t grace_until;   /* 0 = no signal was passed on */
};

bool pump_has_input(void) {
    struct stat st;
    if (fstat(STDIN_FILENO, &st) < 0) return false;
#ifdef __linux__
    if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3)) return false;
#endif
    int flags = fcntl(STDIN_FILENO, F_GETFL);
    return flags >= 0 && (flags & O_ACCMODE) != O_WRONLY;
}

int pump_exit_code(const sbx_event *exit) {
    if (exit->survivors) {
        print_error("%zu processes of the command could not be killed; end the sandbox to end them",
                    exit->survivors);
    }
    if (exit->timed_out) {
        print_error("the command was killed by its timeout, after %lld ms", (long long)exit->duration_ms);
        return EXITS_TIMEOUT;
    }
    if (exit->limit) {
        print_error("the command was ended by the sandbox's limit of %s: see --%s", exit->limit, exit->limit);
    }
    return exit->signal ? EXITS_SIGNAL + exit->signal : exit->exit_code & 0xff;
}

/* Whether the directory to run in is what is missing: the kernel gives the same error for it and for the
 * command. */
static bool directory_missing(struct session *s, sbx_sandbox *sandbox, const char *directory) {
    sbx_error err;
    sbx_completion done;
    if (!directory) return false;
    sbx_call call = session_call(s, 0, &call);
    sbx_status status =
        session_wait(s, sbx_file_stat(NULL, sandbox, directory, &call, &err), &call, &done, &err);
    bool missing = status != SBX_OK || done.file->type != SBX_FILE_DIRECTORY;
    session_release(&done);
    return missing;
}

int pump_start_failed(struct session *s, sbx_sandbox *sandbox, const sbx_command *command,
                      const sbx_error *err) {
    int code = session_failed(err);
    if (signals_received() || err->code != SBX_ERROR_SPAWN || !command->argv) return code;
    if (directory_missing(s, sandbox, command->cwd)) return code;
    return err->system_errno == ENOENT ? EXITS_NOT_FOUND : EXITS_NOT_EXECUTABLE;
}

/* Output to where it belongs. 0, or the exit code of the failure. */
static int put(struct pump *p, const sbx_event *event) {
    bool err = (event->type == SBX_EVENT_GAP ? event->stream : event->type) == SBX_EVENT_STDERR;
    if (event->type == SBX_EVENT_GAP) {
        p->begun[err] = true;
        print_error("%llu bytes of %s from offset %llu on were not read in time and are lost",
                    (unsigned long long)event->dropped, err ? "stderr" : "stdout",
                    (unsigned long long)event->offset);
        return 0;
    }
    if (!p->begun[err] && event->offset > p->from[err]) {
        print_error("%llu bytes of %s from offset %llu on are no longer held",
                    (unsigned long long)(event->offset - p->from[err]), err ? "stderr" : "stdout",
                    (unsigned long long)p->from[err]);
    }
    p->begun[err] = true;
    uint64_t skip = p->from[err] > event->offset ? p->from[err] - event->offset : 0;
    if (skip >= event->len) return 0;
    const char *data = event->data;
    return print_bytes(err ? STDERR_FILENO : STDOUT_FILENO, data + skip, event->len - (size_t)skip)
               ? 0
               : print_failed(errno);
}

/* What was read, and the end behind it, on its way. */
static void feed(struct pump *p) {
    if (p->writing || p->ended || (p->reading && !p->held)) return;
    p->ended = !p->reading;
    sbx_call call = session_call(p->session, SBX_NO_TIMEOUT, p->input);
    sbx_status status =
        sbx_process_write(p->process, p->input[p->filling], p->held, p->ended, &call, &p->input_error);
    p->writing = status == SBX_PENDING;
    if (!p->writing) p->reading = false, p->ended = true;
    p->filling = !p->filling;
    p->held = 0;
}

static void read_input(struct pump *p) {
    ssize_t len = read(STDIN_FILENO, p->input[p->filling] + p->held, PIECE - p->held);
    if (len < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (len < 0) {
        /* Not the end of input: the command must not take what it got for all. */
        p->read_error = errno;
        return;
    }
    p->reading = len > 0;
    if (len > 0) p->held += (size_t)len;
    feed(p);
}

static void fed(struct pump *p, const sbx_completion *done) {
    p->writing = false;
    if (done->status < 0) {
        p->reading = false;
        p->ended = true;
        p->input_error = done->error;
    }
    feed(p);
}

/* A terminal gives its input to the foreground job alone; reading it from the background would stop this
 * process. */
static bool may_read(void) {
    pid_t foreground = tcgetpgrp(STDIN_FILENO);
    return foreground < 0 || foreground == getpgrp();
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The first signal goes to all that the command started, as a terminal sends it to a whole job. What the
   command makes of it in time is its own affair. */
static void pass_on(struct pump *p) {
    if (!p->session->passes || !signals_received()) return;
    if (p->grace_until) {
        if (now_ms() >= p->grace_until) p->session->passes = false;
        return;
    }
    sbx_error err;
    sbx_call call = session_last_call(p->session, GRACE_MS, &p->grace_until);
    p->grace_until = now_ms() + GRACE_MS;
    if (sbx_process_signal(NULL, p->process, signals_received(), 1, &call, &err) != SBX_PENDING)
        p->session->passes = false;
}

static int soonest(const struct pump *p, int timeout_ms) {
    if (!p->grace_until || !p->session->passes) return timeout_ms;
    int64_t left = p->grace_until - now_ms();
    if (left < 0) left = 0;
    return timeout_ms >= 0 && timeout_ms < left ? timeout_ms : (int)left;
}

/* The next completion of p->process (its user is &p->from); input is passed on meanwhile. */
static void wait_for_event(struct pump *p, sbx_completion *done) {
    for (;;) {
        bool wanted = p->reading && p->held < PIECE, readable = wanted && may_read();
        struct pollfd input = {.fd = readable ? STDIN_FILENO : -1, .events = POLLIN};
        if (!session_poll(p->session, done, &input, soonest(p, wanted && !readable ? FOREGROUND_MS : -1))) {
            pass_on(p);
            if (input.revents) read_input(p);
            if (!p->read_error) continue;
            *done = (sbx_completion){SBX_COMPLETION_INIT, .status = SBX_ERROR_SYSTEM};
            done->error.code = SBX_ERROR_SYSTEM;
            snprintf(done->error.message, sizeof done->error.message, "standard input cannot be read: %s",
                     strerror(p->read_error));
            return;
        }
        if (done->user == p->from || !done->user) return;
        if (done->user == p->input) fed(p, done);
        session_release(done);
    }
}

/* The command's input was refused for another reason than that it reads no more. */
static bool input_lost(const struct pump *p) {
    return p->input_error.code < 0 && p->input_error.code != SBX_ERROR_CONFLICT &&
           p->input_error.code != SBX_ERROR_NOT_FOUND && p->input_error.code != SBX_ERROR_GONE;
}

/* Passes everything through. True: the command ended, *code is its exit code. False: *code is that of the
 * failure. */
static bool pass(struct pump *p, int *code) {
    for (;;) {
        sbx_error err;
        sbx_completion done;
        sbx_call call = session_call(p->session, SBX_NO_TIMEOUT, p->from);
        sbx_status status = sbx_process_next(NULL, p->process, &call, &err);
        if (status == SBX_PENDING) {
            wait_for_event(p, &done);
            status = done.status;
            err = done.error;
        }
        if (status != SBX_OK) {
            if (status > 0) err = (sbx_error){.code = SBX_ERROR_INTERNAL}; /* the end without an exit event */
            *code = session_failed(&err);
            return false;
        }
        bool ended = done.event->type == SBX_EVENT_EXIT;
        *code = ended ? pump_exit_code(done.event) : put(p, done.event);
        session_release(&done);
        if (ended) return true;
        if (!*code && input_lost(p)) *code = session_failed(&p->input_error);
        if (*code) return false;
    }
}

static void kill_tree(struct session *s, sbx_process *process) {
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_last_call(s, CLEANUP_MS, &call);
    session_wait(s, sbx_process_kill(NULL, process, &call, &err), &call, &done, &err);
}

int pump_run(struct session *s, sbx_sandbox *sandbox, sbx_command *command) {
    struct pump *p = print_allocate(sizeof *p);
    sbx_error err;
    sbx_completion done;
    int code;
    p->session = s;
    p->reading = command->input_open;
    p->ended = !command->input_open;
    sbx_call call = session_call(s, 0, &call);
    if (session_wait(s, sbx_process_start(NULL, sandbox, command, &call, &err), &call, &done, &err) !=
        SBX_OK) {
        code = pump_start_failed(s, sandbox, command, &err);
    } else {
        p->process = done.process;
        s->passes = true;
        bool ended = pass(p, &code);
        s->passes = false;
        /* After a signal also for what the command left behind. */
        if (!ended || signals_received()) kill_tree(s, p->process);
        /* What the command answered to it counts, unless it died of it: then this program does too. */
        if (ended && code != EXITS_SIGNAL + signals_received()) signals_forget();
        sbx_process_free(p->process);
    }
    free(p);
    return code;
}

int pump_follow(struct session *s, sbx_process *process, uint64_t from_stdout, uint64_t from_stderr) {
    struct pump *p = print_allocate(sizeof *p);
    int code;
    p->session = s;
    p->process = process;
    p->ended = true;
    p->from[0] = from_stdout;
    p->from[1] = from_stderr;
    if (pass(p, &code)) code = 0;
    free(p);
    return code;
}
