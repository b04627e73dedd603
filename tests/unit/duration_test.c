// links: client
#include "check.h"

#include "hfsandbox/hfsandbox.h"

static void is(const char *text, int64_t ms) {
    int64_t got = -7;
    sbx_error err = {0};
    CHECK_EQ(sbx_parse_duration(&got, text, &err), SBX_OK);
    if (got != ms) printf("%s: ", text);
    CHECK_EQ(got, ms);
}

static void units(void) {
    is("0", 0);
    is("90", 90000);
    is("007", 7000);
    is("1.5", 1500);
    is("500ms", 500);
    is("1.5s", 1500);
    is("10m", 600000);
    is("10min", 600000);
    is("2h", 7200000);
    is("0.1d", 8640000);
    is("2w", 1209600000);
    is("3S", 3000);
    is("3Ms", 3);
    is("3M", 180000);
    is("1.25MIN", 75000);
    is("24H", 86400000);
    is("0.0000h", 0);
    is("5200w", INT64_C(3144960000000));
}

static void rounding(void) {
    is("0.0005", 1);
    is("1.4ms", 1);
    is("1.5ms", 2);
    is("0.9996", 1000);
    is("0.123456789123456789123456789123456789", 123);
    is("0.99999999999999999999w", 604799999);
    is("0.333333333333h", 1200000);
    is("0.29", 290);
    is("1.001s", 1001);
}

static void no(const char *text, const char *because) {
    int64_t got = -7;
    sbx_error err = {0};
    CHECK_EQ(sbx_parse_duration(&got, text, &err), SBX_ERROR_INVALID);
    CHECK_EQ(sbx_parse_duration(&got, text, NULL), SBX_ERROR_INVALID);
    CHECK_EQ(got, -7);
    if (strstr(err.message, because) == NULL) printf("%s: %s\n", text, err.message);
    CHECK(strstr(err.message, because) != NULL);
}

static void refused(void) {
    static const char *const bad[] = {"",
                                      " ",
                                      "s",
                                      "ms",
                                      ".",
                                      ".5",
                                      "1.",
                                      "1.s",
                                      "-1",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "1 s",
                                      "1h30m",
                                      "1,5",
                                      "1e3",
                                      "0x10",
                                      "inf",
                                      "nan",
                                      "1ss",
                                      "1sec",
                                      "1mo",
                                      "1y",
                                      "1.5.5",
                                      "1\n",
                                      "1s\n",
                                      "\xd9\xa1",
                                      "3200000000.001",
                                      "3200000001s",
                                      "5300w",
                                      "18446744073709551615",
                                      "18446744073709551616",
                                      "99999999999999999999999999999999999999999w",
                                      "3200000000000.6ms"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        no(bad[i], "is no duration");
    no("1.", "'1.'");
    no("0.0001", "half a millisecond");
    no("0.0000000000000000001s", "half a millisecond");
    no("0.4ms", "half a millisecond");
    is("3200000000", INT64_C(3200000000000));
    no(NULL, "text is NULL");
    CHECK_EQ(sbx_parse_duration(NULL, "1", NULL), SBX_ERROR_INVALID);
}

CHECK_MAIN(units, rounding, refused)
