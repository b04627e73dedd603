// links: agent/etag.c agent/lock.c
#include "check.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/etag.h"

#define COUNT 500

static void lists(void) {
    const char *tag = "\"a-1\"";
    CHECK(etag_if_match(NULL, NULL));
    CHECK(etag_if_match("*", tag));
    CHECK(etag_if_match(" * ", ""));
    CHECK(!etag_if_match("*", NULL));
    CHECK(etag_if_match("\"a-1\"", tag));
    CHECK(etag_if_match("\"x\",\t\"a-1\" , \"y\"", tag));
    CHECK(etag_if_match("a-1", tag));
    CHECK(!etag_if_match("W/\"a-1\"", tag));
    CHECK(!etag_if_match("\"a-1", tag));
    CHECK(!etag_if_match("\"a-\"", tag));
    CHECK(!etag_if_match("\"a-11\"", tag));
    CHECK(!etag_if_match("", tag));
    CHECK(!etag_if_match(",,", tag));
    CHECK(!etag_if_match("\"\"", ""));
    CHECK(!etag_if_match("\"a-1\"", ""));

    CHECK(etag_if_none_match(NULL, tag));
    CHECK(etag_if_none_match("*", NULL));
    CHECK(!etag_if_none_match("*", tag));
    CHECK(!etag_if_none_match("*", ""));
    CHECK(!etag_if_none_match("W/\"a-1\"", tag));
    CHECK(!etag_if_none_match("\"b\", W/\"a-1\"", tag));
    CHECK(etag_if_none_match("\"b\"", tag));
    CHECK(etag_if_none_match("\"a-1\"", ""));
}

static void text(void) {
    struct stat st = {.st_dev = 0x10, .st_ino = 0xff, .st_size = 3, .st_mtim = {1, 1}, .st_ctim = {2, 0}};
    char out[ETAG_SIZE];
    etag_format(&st, out);
    CHECK_STR(out, "\"10-ff-3-3b9aca01-77359400\"");
    memset(&st, 0xff, sizeof st);
    etag_format(&st, out);
    CHECK(strlen(out) < ETAG_SIZE - 1);
}

/* How many of COUNT files made one after the other have the modification time of the one before. */
static int same_times(void) {
    struct timespec before = {0, 0};
    int same = 0;
    for (int i = 0; i < COUNT; i++) {
        struct stat st;
        int fd = open(".", O_TMPFILE | O_RDWR, 0600);
        if (fd < 0) fd = open("etag_test.tmp", O_CREAT | O_TRUNC | O_RDWR, 0600);
        CHECK(fd >= 0 && write(fd, "x", 1) == 1);
        etag_stamp(fd);
        CHECK(fstat(fd, &st) == 0);
        same += st.st_mtim.tv_sec == before.tv_sec && st.st_mtim.tv_nsec == before.tv_nsec;
        CHECK(i == 0 || getenv("SBX_TEST_OFF") != NULL || st.st_mtim.tv_sec > before.tv_sec ||
              st.st_mtim.tv_nsec > before.tv_nsec);
        before = st.st_mtim;
        close(fd);
    }
    unlink("etag_test.tmp");
    return same;
}

static void stamps(void) {
    CHECK_EQ(same_times(), 0);
    /* The control: the kernel's own times repeat within one tick. */
    setenv("SBX_TEST_OFF", "etag-stamp", 1);
    CHECK(same_times() > 0);
    unsetenv("SBX_TEST_OFF");
}

static void places(void) {
    struct stat a = {.st_dev = 1, .st_ino = 2}, b = {.st_dev = 1, .st_ino = 3};
    CHECK(etag_place(&a, "x") == etag_place(&a, "x"));
    CHECK(etag_place(&a, "x") != etag_place(&b, "x") || etag_place(&a, "y") != etag_place(&b, "y"));
    unsigned one = etag_place(&a, "x"), two = etag_place(&b, "y");
    etag_lock_two(one, two);
    etag_unlock_two(one, two);
    etag_lock_two(two, two);
    etag_unlock_two(two, two);
}

CHECK_MAIN(lists, text, stamps, places)
