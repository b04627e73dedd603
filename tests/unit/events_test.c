// links: agent/events.c agent/escape.c
#include "agent/events.h"

#include "check.h"

static size_t text_of(const char *a, const char *b, bool last, struct buf *out) {
    struct iovec pieces[2] = {{(char *)(uintptr_t)a, strlen(a)}, {(char *)(uintptr_t)b, strlen(b)}};
    buf_clear(out);
    return events_text(out, FRAME_STDOUT, pieces, b[0] == '\0' ? 1 : 2, last);
}

static void test_characters_are_not_torn(void) {
    struct buf out = BUF_INIT(4096);
    CHECK_EQ(text_of("a\xE2\x82\xAC", "", false, &out), 4);
    CHECK_STR(out.data, "{\"event\":\"stdout\",\"data\":\"a\xE2\x82\xAC\"}\n");
    CHECK_EQ(text_of("a\xE2\x82", "", false, &out), 1);
    CHECK_STR(out.data, "{\"event\":\"stdout\",\"data\":\"a\"}\n");
    CHECK_EQ(text_of("\xE2\x82", "", false, &out), 0);
    CHECK_EQ(out.len, 0);
    CHECK_EQ(text_of("a\xE2\x82", "", true, &out), 3);
    CHECK_STR(out.data, "{\"event\":\"stdout\",\"data\":\"a\xEF\xBF\xBD\"}\n");
    buf_free(&out);
}

/* Wherever the ring parts the bytes, the line is the same. */
static void test_pieces_make_no_difference(void) {
    static const char *texts[] = {"x\xE2\x82\xACy", "\xF0\x9F\x98\x80", "\xC3\xC3\xA9z", "\xF0\x9F\xC3\xA9",
                                  "\xE0\x80q",      "\xFF\xC3",         "a\xF0\x9F\x98"};
    struct buf whole = BUF_INIT(4096), parted = BUF_INIT(4096);
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++)
        for (int last = 0; last < 2; last++) {
            size_t used = text_of(texts[t], "", last != 0, &whole);
            for (size_t at = 1; at < strlen(texts[t]); at++) {
                char first[16] = {0};
                memcpy(first, texts[t], at);
                CHECK_EQ(text_of(first, texts[t] + at, last != 0, &parted), used);
                CHECK_EQ(parted.len, whole.len);
                if (whole.len > 0) CHECK_STR(parted.data, whole.data);
            }
        }
    buf_free(&whole);
    buf_free(&parted);
}

static void test_forms(void) {
    struct buf out = BUF_INIT(4096);
    events_json(&out, false, FRAME_PING, "", 0);
    events_json(&out, false, FRAME_EXIT, "\"exit_code\":0", 13);
    events_gap(&out, false, FRAME_STDERR, 7, 9);
    CHECK_STR(out.data, "{\"event\":\"ping\"}\n{\"event\":\"exit\",\"exit_code\":0}\n"
                        "{\"event\":\"gap\",\"stream\":\"stderr\",\"offset\":7,\"dropped\":9}\n");
    buf_clear(&out);
    events_json(&out, true, FRAME_PING, "", 0);
    events_json(&out, true, FRAME_EXIT, "\"a\":1", 5);
    events_gap(&out, true, FRAME_STDERR, 7, 9);
    struct frame f;
    const unsigned char *p = (const unsigned char *)out.data;
    CHECK(frame_decode(p, &f) && f.type == FRAME_PING && f.length == 0);
    p += FRAME_HEADER;
    CHECK(frame_decode(p, &f) && f.type == FRAME_EXIT && f.length == 7 &&
          memcmp(p + FRAME_HEADER, "{\"a\":1}", 7) == 0);
    p += FRAME_HEADER + 7;
    CHECK(frame_decode(p, &f) && f.type == FRAME_GAP && f.length == 9 && f.offset == 7);
    CHECK(p[FRAME_HEADER] == FRAME_STDERR && frame_get_u64(p + FRAME_HEADER + 1) == 9);
    buf_free(&out);
}

CHECK_MAIN(test_characters_are_not_torn, test_pieces_make_no_difference, test_forms)
