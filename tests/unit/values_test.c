/* How values are written on the command line. */
// links: cli/values.c
#include "cli/values.h"

#include <string.h>

#include "check.h"

#define JOB "68f0c1d2e3a4b5c6d7e8f901"

static void remote_places(void) {
    static const char *const remote[] = {
        "local-0123456789ab:",   "a:b",          "x:/tmp/y:z",           JOB ":f", "alice/" JOB ":",
        "my-org/" JOB ":/a/b:c", JOB ".box-1:f", "my-org/" JOB ".0a1b:", "a.b:c"};
    static const char *const here[] = {"",
                                       "file",
                                       "./a:b",
                                       "/a:b",
                                       "dir/name:x",
                                       "dir/" JOB,
                                       ":path",
                                       "a/b/c:d",
                                       "./" JOB ":x",
                                       "~/" JOB ":x",
                                       "../" JOB ":x",
                                       "/" JOB ":x",
                                       "d/" JOB "0:x",
                                       "d/68f0:x",
                                       "a/b/" JOB ":x",
                                       "-",
                                       "d/" JOB "/x:y",
                                       "d/" JOB ".:x",
                                       "d/" JOB "0.a:x",
                                       "d/" JOB ".a/b:x"};
    for (size_t i = 0; i < sizeof remote / sizeof *remote; i++)
        CHECK(values_remote(remote[i]) == (size_t)(strchr(remote[i], ':') - remote[i]));
    for (size_t i = 0; i < sizeof here / sizeof *here; i++)
        CHECK(values_remote(here[i]) == 0);
}

static void dollars(void) {
    static const struct {
        const char *text;
        uint64_t micro;
    } good[] = {{"1", 1000000},   {"$2", 2000000},         {"0.5", 500000},
                {"$0.000001", 1}, {"12.345678", 12345678}, {"0.1", 100000}};
    static const char *const bad[] = {"",   "$",  "0",         "0.0", "-1", "$-1", "1e3",       "1,5",
                                      ".5", "5.", "0.0000001", "$$1", "1 ", "inf", "1000000001"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t micro = 0;
        CHECK(values_dollars(&micro, good[i].text) && micro == good[i].micro);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t micro = 0;
        CHECK(!values_dollars(&micro, bad[i]));
    }
}

static void switches(void) {
    static const char *const yes[] = {"1", "on", "Yes", "TRUE"};
    static const char *const no[] = {NULL, "", "0", "no", "off", "false", "2", "1 "};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        CHECK(values_true(yes[i]));
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        CHECK(!values_true(no[i]));
}

CHECK_MAIN(remote_places, dollars, switches)
