// links: agent/escape.c
#include "agent/escape.h"

#include "check.h"

static const char *escape(const char *text, size_t len) {
    static struct buf out = BUF_INIT(4096);
    buf_clear(&out);
    CHECK(escape_string(&out, text, len));
    return out.data;
}

#define ESCAPE(literal) escape(literal, sizeof literal - 1)

static void characters(void) {
    CHECK_STR(ESCAPE(""), "\"\"");
    CHECK_STR(ESCAPE("plain"), "\"plain\"");
    CHECK_STR(ESCAPE("\"\\\n\r\t"), "\"\\\"\\\\\\n\\r\\t\"");
    CHECK_STR(ESCAPE("\x00\x01\x1F\x7F"), "\"\\u0000\\u0001\\u001f\\u007f\"");
    CHECK_STR(ESCAPE("\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80"), "\"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\"");
}

#define BAD "\xEF\xBF\xBD"

/* One U+FFFD for each maximal bad part, as the Unicode standard and Python do. */
static void no_utf8(void) {
    CHECK_STR(ESCAPE("\xFF"), "\"" BAD "\"");
    CHECK_STR(ESCAPE("\x80\x80"), "\"" BAD BAD "\"");
    CHECK_STR(ESCAPE("\xE2\x82"), "\"" BAD "\"");
    CHECK_STR(ESCAPE("\xE2\x82z"), "\"" BAD "z\"");
    CHECK_STR(ESCAPE("\xF0\x9F\x98z"), "\"" BAD "z\"");
    CHECK_STR(ESCAPE("\xC0\xAF"), "\"" BAD BAD "\"");
    CHECK_STR(ESCAPE("\xE0\x80\x80"), "\"" BAD BAD BAD "\"");
    CHECK_STR(ESCAPE("\xED\xA0\x80"), "\"" BAD BAD BAD "\"");
    CHECK_STR(ESCAPE("\xF4\x90\x80\x80"), "\"" BAD BAD BAD BAD "\"");
    CHECK_STR(ESCAPE("\xF5z"), "\"" BAD "z\"");
}

static void ceiling(void) {
    struct buf out = BUF_INIT(4);
    CHECK(!escape_string(&out, "abcd", 4));
    CHECK(out.failed);
    buf_free(&out);
}

CHECK_MAIN(characters, no_utf8, ceiling)
