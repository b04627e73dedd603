// links: agent/json_in.c
#include "agent/json_in.h"

#include "check.h"
#include "wire/limits.h"

static struct json_doc *doc(const char *text) {
    const char *why;
    struct json_doc *d = json_in_parse(text, strlen(text), &why);
    if (d == NULL) printf("%s: %s\n", text, why);
    CHECK(d != NULL);
    return d;
}

static void members(void) {
    struct json_doc *d =
        doc(" {\"a\": 1, \"b\": [true, null, {\"x\": \"y\"}, []], \"c\\u0064\": \"z\", \"a\": 2.5} ");
    uint64_t n = 0;
    int64_t milli = 0;
    bool b = false;
    CHECK_EQ(json_in_size(d, 0), 4);
    CHECK(json_in_milli(d, json_in_get(d, 0, "a"), &milli) && milli == 2500);
    CHECK(!json_in_u64(d, json_in_get(d, 0, "a"), &n));
    json_at array = json_in_get(d, 0, "b");
    CHECK_EQ(json_in_type(d, array), JSON_ARRAY);
    CHECK_EQ(json_in_size(d, array), 4);
    json_at item = json_in_first(d, array);
    CHECK(json_in_bool(d, item, &b) && b);
    item = json_in_next(d, item);
    CHECK_EQ(json_in_type(d, item), JSON_NULL);
    item = json_in_next(d, item);
    char *y = json_in_strdup(d, json_in_get(d, item, "x"));
    CHECK_STR(y, "y");
    free(y);
    item = json_in_next(d, item);
    CHECK_EQ(json_in_type(d, item), JSON_ARRAY);
    CHECK_EQ(json_in_size(d, item), 0);
    CHECK_EQ(json_in_first(d, item), -1);
    CHECK_EQ(json_in_next(d, item), -1);
    CHECK_EQ(json_in_type(d, json_in_get(d, 0, "cd")), JSON_STRING);
    CHECK_EQ(json_in_get(d, 0, "none"), -1);
    CHECK_EQ(json_in_get(d, array, "a"), -1);
    CHECK_EQ(json_in_type(d, -1), JSON_ABSENT);
    int keys = 0;
    for (json_at key = json_in_first(d, 0); key >= 0; key = json_in_next(d, key))
        keys++;
    CHECK_EQ(keys, 4);
    json_in_free(d);
}

static void strings(void) {
    struct json_doc *d = doc("[\"\\\"\\\\\\/"
                             "\\b\\f\\n\\r\\t\\u00e4\\u20AC\\ud83d\\ude00\",\"\\ud83d\",\"\\ude00\","
                             "\"\\ud83dx\",\"a\\u0000b\",1,true,"
                             "null,\"\xFF\"]");
    struct buf out = BUF_INIT(256);
    CHECK(json_in_string(d, 1, &out, false));
    CHECK_STR(out.data, "\"\\/\b\f\n\r\t\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80");
    for (json_at at = 2; at <= 4; at++)
        CHECK(json_in_strdup(d, at) == NULL);
    CHECK(json_in_strdup(d, 5) == NULL);
    buf_clear(&out);
    CHECK(json_in_string(d, 5, &out, true));
    CHECK_EQ(out.len, 3);
    CHECK(json_in_strdup(d, 6) == NULL);
    buf_clear(&out);
    CHECK(json_in_scalar(d, 6, &out) && json_in_scalar(d, 7, &out) && !json_in_scalar(d, 8, &out) &&
          !json_in_scalar(d, 0, &out));
    CHECK_STR(out.data, "1true");
    buf_clear(&out);
    CHECK(json_in_string(d, 9, &out, false));
    CHECK_STR(out.data, "\xFF");
    buf_free(&out);
    json_in_free(d);
}

static void numbers(void) {
    struct json_doc *d = doc("[0,7.0,1e3,-1,18446744073709551615,18446744073709551616,1e999,0.5,-0,-1.5,"
                             "0.0001,-1e-300,1e300,-1e300,9007199254740992.0,9007199254740993.0,1.7e1,-0.0]");
    uint64_t n = 1;
    int64_t milli;
    CHECK(json_in_u64(d, 1, &n) && n == 0);
    CHECK(json_in_u64(d, 2, &n) && n == 7);
    CHECK(json_in_u64(d, 3, &n) && n == 1000);
    CHECK(!json_in_u64(d, 4, &n));
    CHECK(json_in_u64(d, 5, &n) && n == UINT64_MAX);
    CHECK(!json_in_u64(d, 6, &n));
    CHECK(!json_in_milli(d, 7, &milli));
    CHECK(!json_in_u64(d, 7, &n));
    CHECK(!json_in_u64(d, 8, &n) && json_in_milli(d, 8, &milli) && milli == 500);
    CHECK(json_in_u64(d, 9, &n) && n == 0);
    CHECK(!json_in_u64(d, 10, &n) && json_in_milli(d, 10, &milli) && milli == -1500);
    CHECK(!json_in_u64(d, 11, &n) && json_in_milli(d, 11, &milli) && milli == 1);
    CHECK(!json_in_u64(d, 12, &n) && json_in_milli(d, 12, &milli) && milli == -1);
    CHECK(!json_in_u64(d, 13, &n) && json_in_milli(d, 13, &milli) && milli > INT64_MAX - 2);
    CHECK(json_in_milli(d, 14, &milli) && milli < 2 - INT64_MAX);
    CHECK(json_in_u64(d, 15, &n) && n == UINT64_C(9007199254740992));
    CHECK(!json_in_u64(d, 16, &n));
    CHECK(json_in_u64(d, 17, &n) && n == 17);
    CHECK(json_in_u64(d, 18, &n) && n == 0 && json_in_milli(d, 18, &milli) && milli == 0);
    json_in_free(d);
}

static void refusals(void) {
    static const char *const texts[] = {
        "",
        " ",
        "1",
        "\"a\"",
        "true",
        "{",
        "[",
        "}",
        "{]",
        "[}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\" 1}",
        "{a:1}",
        "{1:1}",
        "{\"a\":1,}",
        "{,}",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1,,2]",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1}{",
        "{} {}",
        "[]x",
        "[01]",
        "[+1]",
        "[-]",
        "[.5]",
        "[1.]",
        "[1e]",
        "[1e+]",
        "[0x1]",
        "[NaN]",
        "[Infinity]",
        "[tru]",
        "[True]",
        "[nulll]",
        "['a']",
        "[\"a]",
        "[\"\\x\"]",
        "[\"\\u12\"]",
        "[\"\\u12g4\"]",
        "[\"a\nb\"]",
        "[\"\t\"]",
        "{\"a\":1:2}",
        "[1:2]",
        "{[]:1}",
        "{\"a\":[}",
        "//\n[]",
        "[\"\\",
        "\xEF\xBB\xBF[]",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *why = NULL;
        struct json_doc *d = json_in_parse(texts[i], strlen(texts[i]), &why);
        if (d != NULL) printf("accepted: %s\n", texts[i]);
        CHECK(d == NULL && why != NULL);
        json_in_free(d);
    }
    const char *why;
    CHECK(json_in_parse("[\0]", 3, &why) == NULL);
    CHECK(json_in_parse("[\"\0\"]", 5, &why) == NULL);
}

static void ceilings(void) {
    struct buf text = BUF_INIT(MIB(1));
    const char *why;
    for (int over = 0; over < 2; over++) {
        buf_clear(&text);
        for (int i = 0; i < LIMIT_JSON_DEPTH + over; i++)
            buf_putc(&text, '[');
        for (int i = 0; i < LIMIT_JSON_DEPTH + over; i++)
            buf_putc(&text, ']');
        struct json_doc *d = json_in_parse(text.data, text.len, &why);
        CHECK_EQ(d != NULL, !over);
        json_in_free(d);
        buf_clear(&text);
        buf_putc(&text, '[');
        for (int i = 1; i < LIMIT_JSON_TOKENS + over; i++)
            buf_puts(&text, i > 1 ? ",1" : "1");
        buf_putc(&text, ']');
        d = json_in_parse(text.data, text.len, &why);
        CHECK_EQ(d != NULL, !over);
        json_in_free(d);
    }
    buf_free(&text);
}

CHECK_MAIN(members, strings, numbers, refusals, ceilings)
