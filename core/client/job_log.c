#include "client/job_log.h"

#include <stdlib.h>
#include <string.h>

#include "client/json.h"

#define SECRET_LEAST 4 /* shorter ones would blot out half of what is said */

void job_log_init(struct job_log *log) {
    memset(log, 0, sizeof *log);
    buf_init(&log->partial, JOB_LOG_LINE_MAX);
}

void job_log_free(struct job_log *log) {
    buf_free(&log->partial);
    for (size_t i = 0; i < log->count; i++)
        free(log->lines[i]);
    job_log_init(log);
}

/* Takes the line over. */
static void keep(struct job_log *log, char *line) {
    if (log->count == JOB_LOG_LINES) {
        free(log->lines[0]);
        memmove(log->lines, log->lines + 1, (JOB_LOG_LINES - 1) * sizeof *log->lines);
        log->count--;
    }
    log->lines[log->count++] = line;
}

/* A complete line of the stream; only those of the form `data: {...}` are the job's. */
static bool take_line(struct job_log *log, const char *line, size_t len) {
    static const char mark[] = "data: {", start[] = "===== Job started";
    if (len < sizeof mark - 1 || memcmp(line, mark, sizeof mark - 1) != 0) return true;
    line += sizeof mark - 2;
    len -= sizeof mark - 2;
    struct json *event = json_parse(line, len);
    bool is_line = json_string(event, "data") != NULL;
    json_free(event);
    if (!is_line) return true;
    /* Not through cJSON, whose strings end at the first NUL byte. */
    struct buf text = BUF_INIT(JOB_LOG_LINE_MAX);
    bool ok = json_unescape_member(line, len, "data", &text) || !text.failed;
    while (text.len > 0 && strchr("\r\n\t ", text.data[text.len - 1]) != NULL)
        text.len--;
    if (!ok || text.len == 0 ||
        (text.len >= sizeof start - 1 && memcmp(text.data, start, sizeof start - 1) == 0)) {
        buf_free(&text);
        return ok;
    }
    text.data[text.len] = '\0';
    for (char *nul; (nul = memchr(text.data, '\0', text.len)) != NULL;)
        *nul = '?';
    char *whole = strdup(text.data); /* no larger than it is */
    buf_free(&text);
    if (whole != NULL) keep(log, whole);
    return whole != NULL;
}

bool job_log_feed(struct job_log *log, const char *data, size_t len) {
    bool ok = true;
    while (len > 0) {
        const char *end = memchr(data, '\n', len);
        size_t part = end != NULL ? (size_t)(end - data) : len;
        if (!log->skipping && !buf_append(&log->partial, data, part)) {
            ok = log->partial.len + part > JOB_LOG_LINE_MAX && ok;
            log->skipping = true;
        }
        if (end != NULL) {
            size_t line = log->partial.len;
            if (line > 0 && log->partial.data[line - 1] == '\r') line--;
            if (!log->skipping) ok = take_line(log, log->partial.data, line) && ok;
            buf_clear(&log->partial);
            log->skipping = false;
        }
        data += part + (end != NULL);
        len -= part + (end != NULL);
    }
    return ok;
}

/* ---- The text */

/* The length of the longest secret that begins here; 0 = none does. */
static size_t secret_at(const char *text, const char *const *secrets) {
    size_t longest = 0;
    for (size_t i = 0; secrets != NULL && secrets[i] != NULL; i++) {
        if (secrets[i][0] != *text) continue;
        size_t len = strlen(secrets[i]);
        if (len >= SECRET_LEAST && len > longest && strncmp(text, secrets[i], len) == 0) longest = len;
    }
    return longest;
}

/* As much of the text as is shown, and a character more. Secrets that overlap or touch are one run, and a run
   becomes one "***". */
static void put_without_secrets(struct buf *out, const char *text, const char *const *secrets) {
    const char *until = text;
    for (bool inside = false; *text != '\0' && out->len < JOB_LOG_SHOWN + 4; text++) {
        size_t len = secret_at(text, secrets);
        if (len > 0 && text + len > until) until = text + len;
        bool covered = text < until;
        if (covered && !inside) buf_puts(out, "***");
        if (!covered) buf_putc(out, *text);
        inside = covered;
    }
}

/* The length of the UTF-8 character here; 0: none, or one that controls a terminal. */
static size_t character(const char *text) {
    const unsigned char *c = (const unsigned char *)text;
    if (c[0] < 0x80) return c[0] >= ' ' && c[0] != 0x7f;
    size_t len = c[0] >= 0xf5 || c[0] < 0xc2 ? 0 : c[0] >= 0xf0 ? 4 : c[0] >= 0xe0 ? 3 : 2;
    for (size_t i = 1; i < len; i++) {
        if ((c[i] & 0xc0) != 0x80) return 0;
    }
    bool overlong = (c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xf0 && c[1] < 0x90);
    bool beyond = (c[0] == 0xed && c[1] > 0x9f) || (c[0] == 0xf4 && c[1] > 0x8f);
    bool control = c[0] == 0xc2 && c[1] < 0xa0;
    return len > 0 && !overlong && !beyond && !control ? len : 0;
}

static void put_shown(struct buf *out, const char *text, size_t most) {
    size_t shown = 0;
    while (*text != '\0') {
        size_t len = character(text), taken = len > 0 ? len : 1;
        if (shown + taken > most) break;
        buf_append(out, len > 0 ? text : *text == '\t' ? " " : "?", taken);
        shown += taken;
        text += taken;
    }
}

static void put_line(struct buf *out, const char *text, size_t most, const char *const *secrets) {
    struct buf line = BUF_INIT(JOB_LOG_SHOWN + 8);
    put_without_secrets(&line, text, secrets);
    if (line.data != NULL) put_shown(out, line.data, most < JOB_LOG_SHOWN ? most : JOB_LOG_SHOWN);
    buf_free(&line);
}

void job_log_text(const struct job_log *log, struct buf *out, size_t room, const char *const *secrets) {
    static const char between[] = " | ";
    size_t first = log->count;
    for (size_t left = room; first > 0; first--) {
        struct buf line = BUF_INIT(JOB_LOG_SHOWN + 8);
        put_line(&line, log->lines[first - 1], JOB_LOG_SHOWN, secrets);
        size_t len = line.len + (first < log->count ? sizeof between - 1 : 0);
        buf_free(&line);
        if (len > left && first < log->count) break; /* of the last one at least the beginning is shown */
        left -= len < left ? len : left;
    }
    size_t begin = out->len;
    for (size_t i = first; i < log->count; i++) {
        if (i > first) buf_puts(out, between);
        put_line(out, log->lines[i], room - (out->len - begin), secrets);
    }
}
