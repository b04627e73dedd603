// links: agent/tree.c agent/procfs.c agent/loop.c agent/reap.c
#include "agent/agent.h"
#include "agent/procfs.h"
#include "agent/tree.h"

#include "check.h"

struct agent_config agent;

static void test_stat(void) {
    struct procfs_stat s;
    CHECK(procfs_parse_stat("42 (a) b) (c\n) S 7 8 9 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 5551 100 2 3 4\n",
                            &s));
    CHECK(s.state == 'S' && s.parent == 7 && s.group == 8 && s.session == 9);
    CHECK_EQ(s.started, 5551);
    CHECK_EQ(s.threads, 1);
    CHECK(!procfs_is_dead(&s));
    s.state = 'Z';
    CHECK(procfs_is_dead(&s));
    s.threads = 2; /* the first has ended, another runs */
    CHECK(!procfs_is_dead(&s));
    CHECK(!procfs_parse_stat("", &s));
    CHECK(!procfs_parse_stat("42 (x)", &s));
    CHECK(!procfs_parse_stat("42 (x) S 1 2 3", &s));
}

static void test_limits(void) {
    uint64_t hard;
    CHECK(
        procfs_parse_limits("Limit  Soft Limit  Hard Limit  Units\nMax realtime timeout      unlimited       "
                            "     unlimited            us\n",
                            &hard));
    CHECK(hard == UINT64_MAX);
    CHECK(procfs_parse_limits(
        "Max realtime priority 0 0\nMax realtime timeout      1152921504606846975  1152921504606846970  us\n",
        &hard));
    CHECK_EQ(hard, 1152921504606846970);
    CHECK(!procfs_parse_limits("Max cpu time unlimited unlimited seconds\n", &hard));
}

static void test_marks(void) {
    tree_init();
    uint64_t one = tree_tag(1), two = tree_tag(2);
    CHECK(one > 0 && two == one - 1);
    CHECK_EQ(tree_tag(UINT64_C(1) << 40), 0);
}

CHECK_MAIN(test_stat, test_limits, test_marks)
