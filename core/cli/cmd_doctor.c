#include "cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "doctor_measure.h"
#include "exits.h"
#include "json_read.h"
#include "print.h"
#include "report.h"
#include "signals.h"
#include "values.h"

#define DOCTOR_FAILED 1 /* the exit code when a check failed */
#define CALL_MS       30000

static const char *text_of(const struct json_value *object, const char *name) {
    const struct json_value *value = object ? json_read_member(object, name) : NULL;
    return value && value->text ? value->text : "";
}

/* ---- This computer */

static void report_isolation(struct report *report, const struct json_value *info) {
    const struct json_value *isolation = json_read_member(info, "isolation");
    const struct json_value *steps = isolation ? json_read_member(isolation, "steps") : NULL;
    char missing[300] = "";
    size_t count = 0, hold = 0;
    for (const struct json_value *step = steps ? steps->first : NULL; step; step = step->next) {
        const struct json_value *holds = json_read_member(step, "holds");
        bool here = holds && holds->type == JSON_TRUE;
        size_t len = strlen(missing);
        count++;
        hold += here;
        if (!here)
            snprintf(missing + len, sizeof missing - len, "%s%s", len ? ", " : "", text_of(step, "name"));
    }
    report_check(report, "isolation", count ? REPORT_OK : REPORT_FAILED,
                 "a local sandbox of level %s: %zu of %zu steps hold%s%s", text_of(isolation, "level"), hold,
                 count, *missing ? "; not required, and not to be had here: " : "", missing);
}

static void check_local(struct report *report, bool verbose) {
    sbx_error err;
    char text[1024] = "";
    sbx_completion done = {SBX_COMPLETION_INIT};
    struct session session;
    sbx_sandbox *sandbox = NULL;
    if (session_try(&session, "local", verbose, &err) != SBX_OK) {
        session_text(text, sizeof text, &err);
        report_check(report, "settings", REPORT_FAILED, "%s", text);
        session_close(&session);
        return;
    }
    sbx_call call = session_call(&session, CALL_MS, &call);
    sbx_status status = session_wait(&session, sbx_sandbox_create(NULL, session.client, NULL, &call, &err),
                                     &call, &done, &err);
    if (status == SBX_OK) {
        sandbox = done.sandbox;
        status = session_wait(&session, sbx_sandbox_info(NULL, sandbox, &call, &err), &call, &done, &err);
    }
    struct json_value *info =
        status == SBX_OK ? json_read(sbx_bytes_data(done.bytes), sbx_bytes_size(done.bytes)) : NULL;
    if (status != SBX_OK) session_text(text, sizeof text, &err);
    if (status == SBX_ERROR_AGENT) {
        report_check(report, "agent", REPORT_FAILED, "%s", text);
        report_check(report, "isolation", REPORT_SKIPPED, "without an agent it cannot be tried");
    } else if (status != SBX_OK) {
        report_check(report, "agent", REPORT_OK, "found");
        report_check(report, "isolation", REPORT_FAILED, "%s", text);
    } else {
        report_check(report, "agent", REPORT_OK, "found, version %s", text_of(info, "version"));
        report_isolation(report, info);
    }
    json_read_free(info);
    if (status == SBX_OK) session_release(&done);
    sbx_sandbox_free(sandbox);
    session_close(&session);
}

/* ---- The Hub */

static void check_proxies(struct report *report) {
    static const char *const names[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
                                        "ALL_PROXY",  "no_proxy",    "NO_PROXY"};
    char set[160] = "";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        size_t len = strlen(set);
        if (value && *value) snprintf(set + len, sizeof set - len, "%s%s", len ? ", " : "", names[i]);
    }
    if (*set) {
        report_check(report, "proxies", REPORT_OK, "the environment sets %s", set);
    } else {
        report_check(report, "proxies", REPORT_OK, "the environment sets none");
    }
}

static void check_telemetry(struct report *report, bool on) {
    static const char *const names[] = {"HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY", "DO_NOT_TRACK",
                                        "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"};
    const char *by = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !by; i++) {
        if (values_true(getenv(names[i]))) by = names[i];
    }
    if (on) {
        report_check(
            report, "telemetry", REPORT_OK,
            "on: the Hub is told of each job that is made and ended; HF_HUB_DISABLE_TELEMETRY=1 turns it "
            "off");
    } else {
        report_check(report, "telemetry", REPORT_OK, "off, by %s", by ? by : "the environment");
    }
}

static bool speaks_of_tls(const char *message) {
    return strcasestr(message, "certificate") || strstr(message, "SSL") || strstr(message, "TLS") ||
           strstr(message, "CA ");
}

static void skip(struct report *report, const char *const *names, size_t count, const char *why) {
    for (size_t i = 0; i < count; i++)
        report_check(report, names[i], REPORT_SKIPPED, "%s", why);
}

/* The Hub was asked who the token belongs to, and that failed. */
static void report_failure(struct report *report, const sbx_error *err) {
    static const char *const rest[] = {"tls", "token"};
    char text[1024];
    session_text(text, sizeof text, err);
    if (err->http_status == 401 || err->http_status == 403) {
        report_check(report, "endpoint", REPORT_OK, "answers");
        report_check(report, "token", REPORT_FAILED, "%s", text);
    } else if (err->http_status) {
        report_check(report, "endpoint", REPORT_FAILED, "%s", text);
        skip(report, rest + 1, 1, "the Hub did not say whose it is");
    } else if (speaks_of_tls(text)) {
        report_check(report, "endpoint", REPORT_SKIPPED, "there is no safe connection to it");
        report_check(report, "tls", REPORT_FAILED,
                     "%s; CURL_CA_BUNDLE or SSL_CERT_FILE names the certificates to trust", text);
        skip(report, rest + 1, 1, "the Hub could not be asked");
    } else {
        const char *hint =
            strstr(text, "HF_HUB_OFFLINE") ? "" : "; is HF_ENDPOINT right, and the way there open?";
        report_check(report, "endpoint", REPORT_FAILED, "%s%s", text, hint);
        skip(report, rest, 2, "the Hub could not be asked");
    }
}

static void report_hub(struct report *report, const struct json_value *info, int64_t took_ms) {
    const char *endpoint = text_of(info, "endpoint"), *ca = text_of(info, "ca"),
               *owner = text_of(info, "namespace");
    report_check(report, "endpoint", REPORT_OK, "%s answered after %lld ms", endpoint, (long long)took_ms);
    report_figure(report, "endpoint_ms", took_ms);
    if (strncmp(endpoint, "https:", 6) == 0) {
        report_check(report, "tls", REPORT_OK, "verified with %s", *ca ? ca : "the system's certificates");
    } else {
        report_check(report, "tls", REPORT_SKIPPED, "the endpoint has none: do that on this computer alone");
    }
    report_check(report, "token", REPORT_OK, "from %s, of user %s", text_of(info, "token_source"),
                 text_of(info, "user"));
    if (strcmp(owner, text_of(info, "user")) != 0) report_check(report, "namespace", REPORT_OK, "%s", owner);
}

/* needed: jobs is the provider in force, so that a missing token is a failure. */
static void check_hub(struct report *report, bool needed, bool verbose) {
    static const char *const asking[] = {"endpoint", "tls", "token"};
    sbx_error err;
    sbx_completion done = {SBX_COMPLETION_INIT};
    struct session session;
    struct timespec begin, end;
    char text[1024] = "";
    sbx_status status = session_try(&session, "jobs", verbose, &err);
    if (status != SBX_OK) session_text(text, sizeof text, &err);
    if (status == SBX_ERROR_AUTH && !needed) {
        report_check(report, "token", REPORT_SKIPPED, "there is none, and local sandboxes need none. %s",
                     text);
        skip(report, asking, 2, "without a token the Hub cannot be asked");
    } else if (status != SBX_OK) {
        const char *name = strstr(text, "HF_ENDPOINT") ? "endpoint" : speaks_of_tls(text) ? "tls" : "token";
        report_check(report, name, REPORT_FAILED, "%s", text);
        for (size_t i = 0; i < 3; i++) {
            if (strcmp(name, asking[i]) != 0) skip(report, asking + i, 1, "the Hub could not be asked");
        }
    } else {
        sbx_call call = session_call(&session, CALL_MS, &call);
        clock_gettime(CLOCK_MONOTONIC, &begin);
        status =
            session_wait(&session, sbx_client_info(NULL, session.client, &call, &err), &call, &done, &err);
        clock_gettime(CLOCK_MONOTONIC, &end);
        int64_t took = (int64_t)(end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000;
        struct json_value *info =
            status == SBX_OK ? json_read(sbx_bytes_data(done.bytes), sbx_bytes_size(done.bytes)) : NULL;
        if (status == SBX_OK) {
            const struct json_value *telemetry = info ? json_read_member(info, "telemetry") : NULL;
            report_check(report, "curl", REPORT_OK, "%s", text_of(info, "curl"));
            report_hub(report, info, took);
            check_telemetry(report, telemetry && telemetry->type == JSON_TRUE);
            session_release(&done);
        } else {
            report_failure(report, &err);
        }
        json_read_free(info);
    }
    check_proxies(report);
    session_close(&session);
}

/* An option of the sandbox that --create makes. */
static const char *option_of_create(const struct options *o) {
    return o->image              ? "image"
           : o->flavor           ? "flavor"
           : o->hub_namespace    ? "namespace"
           : o->start_timeout_ms ? "start-timeout"
                                 : NULL;
}

int cmd_doctor(struct session *s, const struct options *o) {
    const char *provider = options_provider(o->provider), *odd = option_of_create(o);
    bool local = strcmp(provider, "local") == 0, jobs = strcmp(provider, "jobs") == 0;
    if (odd && !o->create) {
        print_error("--%s is of the sandbox that --create makes: give --create too, or leave --%s out", odd,
                    odd);
        return EXITS_FAILED;
    }
    /* A wrong name has the library's own error. */
    if (!local && !jobs) {
        if (session_open(s, provider, o->verbose)) print_error("provider %s has nothing to check", provider);
        return EXITS_FAILED;
    }
    struct report *report = print_allocate(sizeof *report);
    int code = EXITS_FAILED;
    report_begin(report, o->json);
    /* Both are looked at, unless one is asked for by name. */
    if (local || !o->provider) check_local(report, o->verbose);
    bool failed = local && report_failed(report, 0);
    size_t of_hub = report->check_count;
    if ((jobs || !o->provider) && !signals_received()) check_hub(report, jobs, o->verbose);
    failed = failed || (jobs && report_failed(report, of_hub));
    if (o->create && failed) {
        report_check(report, "create", REPORT_SKIPPED, "what is not ok stands in its way");
    } else if (o->create && !signals_received()) {
        doctor_measure(report, o);
    }
    if (!signals_received()) {
        code = report_end(report);
        if (!code && report_failed(report, 0)) code = DOCTOR_FAILED;
    }
    free(report);
    return code;
}
