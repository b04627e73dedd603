#include "doctor_measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "prepare.h"
#include "print.h"
#include "progress.h"
#include "session.h"

#define ROUNDS  20
#define SMALL   1024
#define LARGE   ((size_t)8 << 20)
#define PLACE   "/tmp/hfsandbox-doctor"
#define CALL_MS 120000
#define END_MS  30000

struct measuring {
    struct session *session;
    struct report *report;
    sbx_sandbox *sandbox;
};

static int64_t clock_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void failed(struct measuring *m, const char *name, const sbx_error *err) {
    char text[1024];
    session_text(text, sizeof text, err);
    report_check(m->report, name, REPORT_FAILED, "%s", text);
}

static bool create(struct measuring *m, const struct options *o) {
    sbx_error err;
    sbx_completion done;
    sbx_sandbox_options options = prepare_sandbox(o, false);
    sbx_call call = session_call(m->session, o->start_timeout_ms, &call);
    int64_t begin = clock_us();
    if (!m->session->verbose) progress_begin(NULL);
    sbx_status status = session_wait(
        m->session, sbx_sandbox_create(NULL, m->session->client, &options, &call, &err), &call, &done, &err);
    progress_end();
    if (status != SBX_OK) {
        failed(m, "create", &err);
        return false;
    }
    int64_t total = (clock_us() - begin) / 1000;
    sbx_timings timings = {SBX_TIMINGS_INIT};
    m->sandbox = done.sandbox;
    sbx_sandbox_timings(&timings, m->sandbox, NULL);
    if (timings.accepted_ms >= 0) {
        report_check(m->report, "create", REPORT_OK,
                     "accepted after %lld ms, running after %lld, answering after %lld",
                     (long long)timings.accepted_ms, (long long)timings.running_ms,
                     (long long)timings.answered_ms);
        report_figure(m->report, "create_accepted_ms", timings.accepted_ms);
        report_figure(m->report, "create_running_ms", timings.running_ms);
    } else {
        report_check(m->report, "create", REPORT_OK, "answering after %lld ms", (long long)total);
    }
    report_figure(m->report, "create_ms", total);
    return true;
}

static int by_size(const void *a, const void *b) {
    const int64_t *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

static bool exec(struct measuring *m) {
    int64_t took[ROUNDS];
    const sbx_command command = {SBX_COMMAND_INIT, .argv = (const char *const[]){"true", NULL}};
    for (size_t i = 0; i < ROUNDS; i++) {
        sbx_error err;
        sbx_completion done;
        sbx_call call = session_call(m->session, CALL_MS, &call);
        int64_t begin = clock_us();
        if (session_wait(m->session, sbx_run(NULL, m->sandbox, &command, &call, &err), &call, &done, &err) !=
            SBX_OK) {
            failed(m, "exec", &err);
            return false;
        }
        took[i] = clock_us() - begin;
        int code = sbx_result_exit_code(done.result);
        session_release(&done);
        if (code != 0) {
            report_check(m->report, "exec", REPORT_FAILED, "true ended with exit code %d", code);
            return false;
        }
    }
    qsort(took, ROUNDS, sizeof *took, by_size);
    report_check(m->report, "exec", REPORT_OK, "median of %d: %.1f ms, from %.1f to %.1f", ROUNDS,
                 (double)took[ROUNDS / 2] / 1000, (double)took[0] / 1000, (double)took[ROUNDS - 1] / 1000);
    report_figure(m->report, "exec_median_us", took[ROUNDS / 2]);
    report_figure(m->report, "exec_least_us", took[0]);
    report_figure(m->report, "exec_most_us", took[ROUNDS - 1]);
    return true;
}

/* There and back; the same bytes must come. False: said so. */
static bool transfer(struct measuring *m, const char *data, size_t len, int64_t *up, int64_t *down) {
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_call(m->session, CALL_MS, &call);
    int64_t begin = clock_us();
    sbx_status status = session_wait(
        m->session, sbx_file_write(m->sandbox, PLACE, data, len, NULL, &call, &err), &call, &done, &err);
    *up = clock_us() - begin;
    begin = clock_us();
    if (status == SBX_OK)
        status = session_wait(m->session, sbx_file_read(NULL, m->sandbox, PLACE, 0, 0, &call, &err), &call,
                              &done, &err);
    *down = clock_us() - begin;
    if (status != SBX_OK) {
        failed(m, "transfer", &err);
        return false;
    }
    bool same = sbx_bytes_size(done.bytes) == len && memcmp(sbx_bytes_data(done.bytes), data, len) == 0;
    session_release(&done);
    if (!same) report_check(m->report, "transfer", REPORT_FAILED, "%zu bytes came back as others", len);
    return same;
}

static bool transfers(struct measuring *m) {
    int64_t up[2], down[2];
    char *data = print_allocate(LARGE);
    uint32_t state = 1;
    for (size_t i = 0; i < LARGE; i++) { /* that no one on the way can make smaller */
        state = state * 1664525 + 1013904223;
        data[i] = (char)(state >> 24);
    }
    bool good = transfer(m, data, SMALL, &up[0], &down[0]) && transfer(m, data, LARGE, &up[1], &down[1]);
    free(data);
    if (!good) return false;
    report_check(
        m->report, "transfer", REPORT_OK,
        "1 KiB up in %.1f ms, down in %.1f; 8 MiB up in %.1f ms (%.1f MiB/s), down in %.1f (%.1f MiB/s)",
        (double)up[0] / 1000, (double)down[0] / 1000, (double)up[1] / 1000, 8e6 / (double)(up[1] + 1),
        (double)down[1] / 1000, 8e6 / (double)(down[1] + 1));
    report_figure(m->report, "write_1k_us", up[0]);
    report_figure(m->report, "read_1k_us", down[0]);
    report_figure(m->report, "write_8m_us", up[1]);
    report_figure(m->report, "read_8m_us", down[1]);
    return true;
}

static void end(struct measuring *m) {
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_last_call(m->session, END_MS, &call);
    int64_t begin = clock_us();
    if (session_wait(m->session, sbx_sandbox_kill(m->sandbox, &call, &err), &call, &done, &err) < 0) {
        failed(m, "end", &err);
        return;
    }
    int64_t took = (clock_us() - begin) / 1000;
    report_check(m->report, "end", REPORT_OK, "confirmed after %lld ms", (long long)took);
    report_figure(m->report, "end_ms", took);
}

void doctor_measure(struct report *report, const struct options *options) {
    sbx_error err;
    struct session session;
    struct measuring m = {.session = &session, .report = report};
    if (session_try(&session, options_provider(options->provider), options->verbose, &err) != SBX_OK) {
        failed(&m, "create", &err);
    } else if (create(&m, options)) {
        if (exec(&m)) transfers(&m);
        end(&m);
        sbx_sandbox_free(m.sandbox);
    }
    session_close(&session);
}
