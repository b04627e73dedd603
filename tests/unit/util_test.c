#include "check.h"

#include "util/buf.h"
#include "util/text.h"
#include "util/testing.h"

static void buffers(void) {
    struct buf b = BUF_INIT(10);
    CHECK(buf_append(&b, "hello", 5));
    CHECK(buf_printf(&b, "%d", 12345));
    CHECK(!b.failed);
    CHECK(!buf_putc(&b, 'x'));
    CHECK(b.failed);
    CHECK_EQ(b.len, 10);
    buf_consume(&b, 5);
    CHECK_STR(b.data, "12345");
    char *taken = buf_take(&b);
    CHECK_STR(taken, "12345");
    free(taken);
    CHECK(b.data == NULL);
    taken = buf_take(&b);
    CHECK_STR(taken, "");
    free(taken);
    buf_free(&b);
}

static void numbers(void) {
    uint64_t n = 7;
    CHECK(text_u64("18446744073709551615", 20, &n) && n == UINT64_MAX);
    CHECK(!text_u64("18446744073709551616", 20, &n));
    CHECK(!text_u64("", 0, &n));
    CHECK(!text_u64("-1", 2, &n));
    CHECK(!text_u64("1 ", 2, &n));
    unsigned mode;
    CHECK(text_mode("0755", 4, &mode) && mode == 0755);
    CHECK(!text_mode("8", 1, &mode));
    CHECK(!text_mode("17777", 5, &mode));
}

static void utf8(void) {
    CHECK_EQ(text_utf8_tail("abc", 3), 0);
    CHECK_EQ(text_utf8_tail("a\xE2\x82", 3), 2);
    CHECK_EQ(text_utf8_tail("a\xE2\x82\xAC", 4), 0);
    CHECK_EQ(text_utf8_tail("\xF0\x9F\x98", 3), 3);
    CHECK_EQ(text_utf8_tail("\xE0\x80", 2), 0);
    CHECK_EQ(text_utf8_tail("\x80\x80\x80", 3), 0);
    char text[] = "a%20b+c%zz%4";
    size_t len = text_percent_decode(text, strlen(text));
    CHECK(len == 10 && memcmp(text, "a b c%zz%4", 10) == 0);
}

static void secrets(void) {
    CHECK(text_equal_secret("abc", 3, "abc", 3));
    CHECK(!text_equal_secret("abc", 3, "abd", 3));
    CHECK(!text_equal_secret("abcabc", 6, "abc", 3));
    CHECK(!text_equal_secret("abc", 3, "", 0));
}

static void switches(void) {
    setenv("SBX_TEST_OFF", "one,two-three", 1);
    CHECK(testing_off("one"));
    CHECK(testing_off("two-three"));
    CHECK(!testing_off("two"));
    unsetenv("SBX_TEST_OFF");
    CHECK(!testing_off("one"));
}

CHECK_MAIN(buffers, numbers, utf8, secrets, switches)
