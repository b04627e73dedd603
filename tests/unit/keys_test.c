// links: agent/keys.c
#include "agent/keys.h"

static struct keys keys;

#include "check.h"

static void test_once_only(void) {
    struct key a = {0}, b = {0}, *found = NULL;
    CHECK_EQ(keys_find(&keys, "one.5", 0, &found), KEY_NEW);
    CHECK(keys_remember(&keys, &a, "one.5"));
    CHECK_EQ(keys_find(&keys, "one.5", 0, &found), KEY_KNOWN);
    CHECK(found == &a);
    CHECK_EQ(keys_find(&keys, "one.4", 0, &found),
             KEY_NEW); /* later in time, lower in number: two requests under way at once */
    CHECK(keys_remember(&keys, &b, "one.4"));
    keys_forget(&a);
    CHECK_EQ(keys_find(&keys, "one.5", 0, &found), KEY_FORGOTTEN);
    CHECK_EQ(keys_find(&keys, "one.3", 0, &found), KEY_FORGOTTEN);
    CHECK_EQ(keys_find(&keys, "one.4", 0, &found), KEY_KNOWN);
    CHECK_EQ(keys_find(&keys, "one.6", 0, &found), KEY_NEW);
    CHECK_EQ(keys_find(&keys, "two.5", 0, &found), KEY_NEW);
    keys_forget(&b);
    CHECK_EQ(keys_find(&keys, "one.4", 0, &found), KEY_FORGOTTEN);
    keys_forget(&b);
}

static void test_not_carried_out(void) {
    struct key a = {0}, *found = NULL;
    CHECK_EQ(keys_find(&keys, "three.1", 0, &found), KEY_NEW);
    CHECK(keys_remember(&keys, &a, "three.1"));
    keys_undo(&a);
    CHECK_EQ(keys_find(&keys, "three.1", 0, &found), KEY_NEW);
}

static void test_zero_is_a_number(void) {
    struct key a = {0}, *found = NULL;
    CHECK_EQ(keys_find(&keys, "zero.0", 0, &found), KEY_NEW);
    CHECK(keys_remember(&keys, &a, "zero.0"));
    keys_forget(&a);
    CHECK_EQ(keys_find(&keys, "zero.0", 0, &found), KEY_FORGOTTEN);
    CHECK_EQ(keys_find(&keys, "zero.1", 0, &found), KEY_NEW);
}

static void test_malformed(void) {
    struct key *found = NULL;
    const char *bad[] = {"",
                         ".1",
                         "a",
                         "a.",
                         "a.x",
                         "a.-1",
                         "a b.1",
                         "a.1 ",
                         "a.99999999999999999999",
                         "a..1",
                         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_EQ(keys_find(&keys, bad[i], 0, &found), KEY_MALFORMED);
    CHECK_EQ(keys_find(&keys, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.18446744073709551615", 0, &found),
             KEY_NEW);
}

static void test_names_are_bounded(void) {
    struct key *found = NULL;
    char text[32];
    int state = KEY_NEW;
    for (int i = 0; i < KEYS_NAMES_MAX + 10 && state == KEY_NEW; i++) {
        snprintf(text, sizeof text, "n%d.1", i);
        state = (int)keys_find(&keys, text, 1000, &found);
    }
    CHECK_EQ(state, KEY_FULL);
    CHECK_EQ(keys_find(&keys, "new.1", 1000 + KEYS_NAME_KEEP, &found),
             KEY_NEW); /* silent long enough to make room */
}

CHECK_MAIN(test_once_only, test_not_carried_out, test_zero_is_a_number, test_malformed,
           test_names_are_bounded)
