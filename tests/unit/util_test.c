#include "check.h"

#include <limits.h>

#include "util/buf.h"
#include "util/sort.h"
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

static void in_texts(void) {
    uint64_t n = 7;
    const char *at = " \t12 18446744073709551615\n18446744073709551616x -1";
    CHECK(text_take(&at, &n) && n == 12);
    CHECK(text_take(&at, &n) && n == UINT64_MAX);
    CHECK(text_take(&at, &n) && n == UINT64_MAX);
    CHECK_STR(at, "x -1");
    CHECK(!text_take(&at, &n) && strcmp(at, "x -1") == 0);
    CHECK_EQ(text_number("42)"), 42);
    CHECK_EQ(text_number(""), 0);
    CHECK_EQ(text_number("-1"), 0);
    CHECK_STR(text_after("aab: 3", "ab:"), " 3");
    CHECK_STR(text_after("ab", "ab"), "");
    CHECK(text_after("aaa", "aab") == NULL);
    CHECK(text_after("", "a") == NULL);
}

static void decimal(const char *text, int places, uint64_t value, bool more) {
    uint64_t n = 99;
    bool rest;
    bool ok = text_decimal(text, strlen(text), places, &n, &rest) && n == value && rest == more;
    if (!ok) printf("%s, %d places: %llu\n", text, places, (unsigned long long)n);
    CHECK(ok);
}

static void decimals(void) {
    uint64_t n;
    bool rest;
    decimal("0", 3, 0, false);
    decimal("0.0e99999999999999999999", 3, 0, false);
    decimal("1.5", 3, 1500, false);
    decimal("1.5", 0, 1, true);
    decimal("0.0005", 3, 0, true);
    decimal("1e-400", 3, 0, true);
    decimal("0.30000000000000004", 3, 300, true);
    decimal("12345e-2", 2, 12345, false);
    decimal("1E+3", 0, 1000, false);
    decimal("18446744073709551615", 0, UINT64_C(18446744073709551610), true);
    decimal("1844674407370955160000", 0, UINT64_MAX, false);
    decimal("100000000000000000000000e-20", 0, 1000, false);
    decimal("0.00000000000000000000000000000000000000001e41", 0, 1, false);
    decimal("1e308", 0, UINT64_MAX, false);
    CHECK(!text_decimal("1e309", 5, 0, &n, &rest));
    CHECK(!text_decimal("1e309", 5, 3, &n, &rest));
    CHECK(!text_decimal("1e99999999999999999999", 22, 0, &n, &rest));
}

__attribute__((format(printf, 2, 3))) static void formats(const char *expected, const char *format, ...) {
    char own[256], whole[256];
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    size_t len = text_vformat(own, sizeof own, format, args);
    int whole_len = vsnprintf(whole, sizeof whole, format, again);
    va_end(again);
    va_end(args);
    CHECK_STR(own, expected);
    CHECK_STR(whole, expected);
    CHECK_EQ(len, whole_len);
}

static void formatting(void) {
    formats("", "%s", "");
    formats("plain % text", "plain %% text");
    formats("a-bc-d", "%c-%s-%c", 'a', "bc", 'd');
    formats("abc|ab||abc", "%.3s|%.*s|%.0s|%.200s", "abcdef", 2, "abcdef", "x", "abc");
    formats("0 -1 2147483647 -2147483648", "%d %d %d %d", 0, -1, INT_MAX, INT_MIN);
    formats("-9223372036854775808 -5", "%lld %ld", LLONG_MIN, -5L);
    formats("4294967295 18446744073709551615 7", "%u %llu %zu", UINT_MAX, ULLONG_MAX, (size_t)7);
    formats("ff ffffffffffffffff 1f 0 755", "%x %llx %zx %lx %o", 255U, ULLONG_MAX, (size_t)31, 0UL, 0755U);
    formats("000a 0F 00042 -0042 123456", "%04x %02X %05d %05d %03u", 10U, 15U, 42, -42, 123456U);
    char small[4];
    CHECK_EQ(text_format(small, sizeof small, "%d", 12345), 5);
    CHECK_STR(small, "123");
    CHECK_EQ(text_format(small, 1, "%s", "abc"), 3);
    CHECK_STR(small, "");
    CHECK_EQ(text_format(NULL, 0, "%s-%s", "abc", "d"), 5);
    struct buf b = BUF_INIT(1000);
    char long_text[400];
    memset(long_text, 'x', sizeof long_text);
    CHECK(buf_printf(&b, "<%.*s>", (int)sizeof long_text, long_text));
    CHECK(b.len == 402 && b.data[401] == '>' && b.data[402] == '\0');
    CHECK(!buf_printf(&b, "%.*s%.*s", 400, long_text, 400, long_text));
    CHECK(b.failed && b.len == 402);
    buf_free(&b);
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void sorting(void) {
    for (size_t count = 0; count < 70; count++) {
        uint64_t items[70][2], random = count + 1, sum = 0, sorted_sum = 0;
        for (size_t i = 0; i < count; i++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
            items[i][0] = (random >> 33) % (count % 2 == 0 ? 10 : 1000);
            items[i][1] = items[i][0] * 3;
            sum += items[i][0];
        }
        sort_items(items, count, sizeof *items, by_value);
        for (size_t i = 0; i < count; i++) {
            CHECK(i == 0 || items[i - 1][0] <= items[i][0]);
            CHECK(items[i][1] == items[i][0] * 3);
            sorted_sum += items[i][0];
        }
        CHECK(sum == sorted_sum);
    }
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

CHECK_MAIN(buffers, numbers, in_texts, decimals, formatting, sorting, utf8, secrets, switches)
