// links: client
#include "check.h"

#include <stdint.h>

#include "client/job_log.h"

static void feed(struct job_log *log, const char *stream) {
    CHECK(job_log_feed(log, stream, strlen(stream)));
}

static void line(struct job_log *log, const char *text) {
    feed(log, "data: {\"timestamp\":\"t\",\"data\":\"");
    feed(log, text);
    feed(log, "\"}\n\n");
}

static void shows(const struct job_log *log, const char *const *secrets, const char *expected) {
    struct buf out = BUF_INIT(65536);
    job_log_text(log, &out, SIZE_MAX, secrets);
    CHECK(!out.failed);
    CHECK_STR(out.data != NULL ? out.data : "", expected);
    buf_free(&out);
}

static void streams(void) {
    struct job_log log;
    job_log_init(&log);
    shows(&log, NULL, "");
    feed(&log, ": keep-alive\n\nevent: x\nid: 1\nretry: 5\n");
    line(&log, "===== Job started at 2026-08-20 =====");
    line(&log, "one");
    feed(&log, "data:{\"data\":\"no space\"}\n data: {\"data\":\"x\"}\nDATA: {\"data\":\"x\"}\ndata: "
               "[\"data\"]\ndata: {\n");
    feed(&log, "data: {\"data\":1}\ndata: {\"data\":null}\ndata: {}\ndata: {\"data\":\"x\"} y\ndata: "
               "{\"x\":{\"data\":\"y\"}}\n");
    line(&log, "");
    line(&log, " \\r\\n");
    feed(&log, "data: {\"data\":\"two\\n\"}\r\n\r\n");
    line(&log, " ===== Job started");
    shows(&log, NULL, "one | two |  ===== Job started");
    feed(&log, "data: {\"data\":\"no end\"}");
    shows(&log, NULL, "one | two |  ===== Job started");
    CHECK_EQ(log.count, 3);
    job_log_free(&log);
    shows(&log, NULL, "");
    job_log_free(&log);
}

static void last_lines(void) {
    struct job_log log;
    struct buf expected = BUF_INIT(4096);
    job_log_init(&log);
    for (int i = 0; i < 133; i++) {
        char text[16];
        snprintf(text, sizeof text, "line %d", i);
        line(&log, text);
        if (i >= 113) buf_printf(&expected, "%s%s", i > 113 ? " | " : "", text);
    }
    shows(&log, NULL, expected.data);
    buf_free(&expected);
    job_log_free(&log);
}

static void too_long(void) {
    struct job_log log;
    size_t size = 200000;
    char *data = malloc(size);
    memset(data, 'x', size);
    memcpy(data, "data: {\"data\":\"", 15);
    data[size - 3] = '"', data[size - 2] = '}', data[size - 1] = '\n';
    for (size_t piece = 1; piece <= size; piece = piece * 7 + 1) {
        job_log_init(&log);
        for (size_t at = 0; at < size; at += piece)
            CHECK(job_log_feed(&log, data + at, size - at < piece ? size - at : piece));
        CHECK_EQ(log.count, 0);
        CHECK(log.partial.cap <= JOB_LOG_LINE_MAX + 1);
        line(&log, "after");
        shows(&log, NULL, "after");
        job_log_free(&log);
    }
    /* The longest that is taken. */
    job_log_init(&log);
    memcpy(data + JOB_LOG_LINE_MAX - 2, "\"}\n", 3);
    CHECK(job_log_feed(&log, data, JOB_LOG_LINE_MAX + 1));
    CHECK_EQ(log.count, 1);
    CHECK_EQ(strlen(log.lines[0]), JOB_LOG_LINE_MAX - 17);
    memcpy(data + JOB_LOG_LINE_MAX - 2, "x\"}\n", 4);
    CHECK(job_log_feed(&log, data, JOB_LOG_LINE_MAX + 2));
    CHECK_EQ(log.count, 1);
    job_log_free(&log);
    free(data);
}

static void shown(void) {
    struct job_log log;
    char expected[300] = "";
    job_log_init(&log);
    line(&log, "\\u001b[31mred\\u0000\\ttab\\rx\\u007f\\u009b2J \xc2\x85 \xff \xed\xa0\x80 \xc0\xaf "
               "\xf0\x9f\x98\x80 \xe2\x82\xac \\ud83d\\ude00");
    shows(&log, NULL, "?[31mred? tab?x???2J ?? ? ??? ?? \xf0\x9f\x98\x80 \xe2\x82\xac \xf0\x9f\x98\x80");
    job_log_free(&log);
    /* Cut between characters: 66 of three bytes are 198. */
    for (int i = 0; i < 80; i++)
        strcat(expected, "\xe2\x82\xac");
    line(&log, expected);
    expected[198] = '\0';
    shows(&log, NULL, expected);
    job_log_free(&log);
    memset(expected, 'x', 250);
    line(&log, expected);
    expected[200] = '\0';
    shows(&log, NULL, expected);
    job_log_free(&log);
    line(&log, expected);
    shows(&log, NULL, expected);
    struct buf small = BUF_INIT(100);
    job_log_text(&log, &small, SIZE_MAX, NULL);
    CHECK(small.len <= 100);
    buf_free(&small);
    job_log_free(&log);
}

static void shows_within(const struct job_log *log, size_t room, const char *expected) {
    static const char *const both[] = {"secret", "hidden", NULL};
    struct buf out = BUF_INIT(65536);
    job_log_text(log, &out, room, both);
    CHECK_STR(out.data != NULL ? out.data : "", expected);
    buf_free(&out);
}

/* The last lines are those that matter. */
static void room(void) {
    struct job_log log;
    job_log_init(&log);
    shows_within(&log, 10, "");
    line(&log, "first");
    line(&log, "a secret");
    line(&log, "hidden");
    shows_within(&log, 100, "first | a *** | ***");
    shows_within(&log, 19, "first | a *** | ***");
    shows_within(&log, 18, "a *** | ***");
    shows_within(&log, 10, "***");
    line(&log, "a long last line");
    shows_within(&log, 6, "a long");
    shows_within(&log, 0, "");
    line(&log, "x\u00e9");
    shows_within(&log, 2, "x");
    job_log_free(&log);
}

static void secret(const char *text, const char *expected) {
    static const char *const secrets[] = {"hf_token", "token-x",           "abcd", "abcdefgh", "", "one",
                                          "tab\tin",  "\xc3\xa9t\xc3\xa9", "ssss", NULL};
    struct job_log log;
    job_log_init(&log);
    line(&log, text);
    shows(&log, secrets, expected);
    job_log_free(&log);
}

static void secrets(void) {
    secret("the hf_token, hf_token.", "the ***, ***.");
    secret("\\u0068f_\\u0074oken", "***");
    secret("hf_tokenhf_token", "***");
    secret("hf_token-x!", "***!");
    secret("abcdefgh abcdefg", "*** ***efg");
    secret("one hf_toke", "one hf_toke");
    secret("tab\\tin tab in", "*** tab in");
    secret("\xc3\xa9t\xc3\xa9", "***");
    secret("sssssss", "***");
    secret("hf_\\u0000token", "hf_?token");
    char text[400], expected[400];
    for (size_t at = 180; at < 210; at++) {
        memset(text, 'x', sizeof text);
        memcpy(text + at, "hf_token", 8);
        text[300] = '\0';
        memset(expected, 'x', sizeof expected);
        memcpy(expected + at, "***", 3);
        expected[200] = '\0';
        secret(text, expected);
    }
    /* The positive control: the secret is there to be found. */
    struct job_log log;
    job_log_init(&log);
    line(&log, "the hf_token");
    shows(&log, NULL, "the hf_token");
    job_log_free(&log);
}

CHECK_MAIN(streams, last_lines, too_long, shown, room, secrets)
