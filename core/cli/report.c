#include "report.h"

#include <ctype.h>
#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <hfsandbox/hfsandbox.h>

#include "print.h"

/* ---- What is not to be told */

#define HIDDEN_MAX 24

struct hidden {
    char text[512];
    const char *instead;
};

struct hiding {
    struct hidden entries[HIDDEN_MAX];
    size_t count;
};

static void hide(struct hiding *h, const char *text, size_t len, size_t least, const char *instead) {
    if (len < least || h->count == HIDDEN_MAX || len >= sizeof h->entries->text) return;
    struct hidden *entry = &h->entries[h->count++];
    memcpy(entry->text, text, len);
    entry->text[len] = 0;
    entry->instead = instead;
}

/* Of [scheme://][user:password@]host[:port][/...], each part that tells something. */
static void hide_proxy(struct hiding *h, const char *url) {
    const char *scheme = strstr(url, "://"), *begin = scheme ? scheme + 3 : url;
    const char *at = strrchr(begin, '@'), *host = at ? at + 1 : begin;
    if (at) hide(h, begin, (size_t)(at - begin), 1, "<credentials>");
    hide(h, host, strcspn(host, ":/"), 3, "<proxy>");
}

static void collect(struct hiding *h) {
    static const char *const tokens[] = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"};
    static const char *const proxies[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
                                          "ALL_PROXY"};
    static char name[256];
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        const char *token = getenv(tokens[i]);
        if (token) hide(h, token, strcspn(token, "\r\n"), 4, "<token>");
    }
    for (size_t i = 0; i < sizeof proxies / sizeof *proxies; i++) {
        const char *url = getenv(proxies[i]);
        if (url) hide_proxy(h, url);
    }
    const char *home = getenv("HOME");
    struct passwd *entry = getpwuid(getuid());
    if (home) hide(h, home, strlen(home), 2, "~");
    if (entry && entry->pw_dir) hide(h, entry->pw_dir, strlen(entry->pw_dir), 2, "~");
    const char *hub = getenv("HF_ENDPOINT");
    if (gethostname(name, sizeof name - 1) == 0 && strcmp(name, "localhost") != 0 &&
        !(hub && strstr(hub, name)))
        hide(h, name, strlen(name), 2, "<this computer>");
}

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '-';
}

/* Whole words alone: a host that is named "vm" does not spoil others. */
static const struct hidden *found(const struct hiding *h, const char *text, size_t at) {
    for (size_t i = 0; i < h->count; i++) {
        const struct hidden *entry = &h->entries[i];
        size_t len = strlen(entry->text);
        if (strncmp(text + at, entry->text, len) != 0) continue;
        if (at && is_word(text[at - 1]) && is_word(*entry->text)) continue;
        if (is_word(text[at + len]) && is_word(entry->text[len - 1])) continue;
        return entry;
    }
    return NULL;
}

static void redact(char *out, size_t size, const char *text) {
    struct hiding h = {.count = 0};
    size_t len = 0;
    collect(&h);
    for (size_t at = 0; text[at] && len + 1 < size;) {
        const struct hidden *entry = found(&h, text, at);
        if (entry) {
            int added = snprintf(out + len, size - len, "%s", entry->instead);
            len = len + (size_t)added < size ? len + (size_t)added : size - 1;
            at += strlen(entry->text);
        } else {
            out[len++] = text[at++];
        }
    }
    out[len] = 0;
}

/* ---- Collecting */

static void print_line(struct report *report, const struct report_check *check) {
    static const char *const states[] = {"ok", "not ok", "skipped"};
    printf("%-8s %-10s ", states[check->state], check->name);
    print_text(stdout, check->text, strlen(check->text));
    putchar('\n');
    if (fflush(stdout) && !report->error_number) report->error_number = errno;
}

/* Without nodename. */
static void system_name(char *out, size_t size) {
    struct utsname machine;
    *out = 0;
    if (uname(&machine) == 0)
        snprintf(out, size, "%s %s %s", machine.sysname, machine.release, machine.machine);
}

void report_begin(struct report *report, bool json) {
    char system[512];
    report->json = json;
    system_name(system, sizeof system);
    if (!json) printf("hfsandbox %s, %s\n", sbx_version(), system);
}

void report_check(struct report *report, const char *name, enum report_state state, const char *format, ...) {
    char text[1024];
    va_list arguments;
    if (report->check_count == sizeof report->checks / sizeof *report->checks) return;
    struct report_check *check = &report->checks[report->check_count++];
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    check->name = name;
    check->state = state;
    redact(check->text, sizeof check->text, text);
    if (!report->json) print_line(report, check);
}

void report_figure(struct report *report, const char *name, int64_t value) {
    if (report->figure_count == sizeof report->figures / sizeof *report->figures) return;
    report->figures[report->figure_count++] = (struct report_figure){name, value};
}

bool report_failed(const struct report *report, size_t from) {
    for (size_t i = from; i < report->check_count; i++) {
        if (report->checks[i].state == REPORT_FAILED) return true;
    }
    return false;
}

/* ---- The end */

static void print_json(const struct report *report) {
    static const char *const states[] = {"ok", "failed", "skipped"};
    struct print_json json = {0};
    char system[512];
    system_name(system, sizeof system);
    print_json_begin(&json, '{');
    print_json_member_bool(&json, "ok", !report_failed(report, 0));
    print_json_member_text(&json, "version", sbx_version());
    print_json_member_text(&json, "system", system);
    print_json_name(&json, "checks");
    print_json_begin(&json, '[');
    for (size_t i = 0; i < report->check_count; i++) {
        print_json_begin(&json, '{');
        print_json_member_text(&json, "name", report->checks[i].name);
        print_json_member_text(&json, "state", states[report->checks[i].state]);
        print_json_member_text(&json, "text", report->checks[i].text);
        print_json_end(&json, '}');
    }
    print_json_end(&json, ']');
    print_json_name(&json, "figures");
    print_json_begin(&json, '{');
    for (size_t i = 0; i < report->figure_count; i++)
        print_json_member_number(&json, report->figures[i].name, report->figures[i].value);
    print_json_end(&json, '}');
    print_json_end(&json, '}');
    putchar('\n');
}

int report_end(const struct report *report) {
    if (report->json) print_json(report);
    return report->error_number ? print_failed(report->error_number) : print_end();
}
