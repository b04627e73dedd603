// links: agent/output.c
#include "agent/output.h"

#include "check.h"

static struct output_pool agent_pool, pool;

static void fresh(struct output *o, size_t max) {
    agent_pool = (struct output_pool){.max = 1 << 20};
    pool = (struct output_pool){.parent = &agent_pool, .max = 1 << 20};
    output_init(o, &pool, max);
}

/* Writes `len` bytes that tell their own offset, as far as there is room; returns how many. */
static size_t put(struct output *o, size_t len) {
    size_t done = 0;
    while (done < len) {
        struct iovec pieces[2];
        int count = output_room(o, len - done, pieces);
        if (count == 0) break;
        size_t n = 0;
        for (int i = 0; i < count; i++)
            for (size_t k = 0; k < pieces[i].iov_len; k++, n++)
                ((unsigned char *)pieces[i].iov_base)[k] = (unsigned char)((o->end + n) * 7 % 251);
        output_added(o, n);
        done += n;
    }
    return done;
}

static size_t check_from(const struct output *o, uint64_t pos, size_t most) {
    struct iovec pieces[2];
    int count = output_peek(o, pos, most, pieces);
    size_t n = 0;
    for (int i = 0; i < count; i++)
        for (size_t k = 0; k < pieces[i].iov_len; k++, n++)
            if (((unsigned char *)pieces[i].iov_base)[k] != (unsigned char)((pos + n) * 7 % 251)) {
                CHECK(false && "a byte is not the one of its offset");
                return n;
            }
    return n;
}

static void test_grows_and_keeps_the_newest(void) {
    struct output o;
    fresh(&o, 100000);
    CHECK_EQ(put(&o, 3000), 3000);
    CHECK_EQ(o.cap, OUTPUT_MIN);
    CHECK_EQ(put(&o, 50000), 50000);
    CHECK_EQ(o.start, 0);
    CHECK_EQ(check_from(&o, 0, 1 << 20), 53000);
    CHECK_EQ(put(&o, 200000), 200000);
    CHECK_EQ(o.end, 253000);
    CHECK_EQ(o.end - o.start, 100000);
    CHECK_EQ(o.dropped, 153000);
    CHECK_EQ(check_from(&o, o.start, 1 << 20), 100000);
    CHECK_EQ(check_from(&o, o.start - 1, 1), 0);
    CHECK_EQ(pool.used, 100000);
    CHECK_EQ(agent_pool.used, 100000);
    output_discard(&o);
    CHECK_EQ(pool.used, 0);
    CHECK_EQ(agent_pool.used, 0);
    CHECK_EQ(o.start, o.end);
    CHECK_EQ(o.dropped, 253000);
}

static void test_only_what_is_added_replaces(void) {
    struct output o;
    struct iovec pieces[2];
    fresh(&o, 8192);
    put(&o, 8192);
    CHECK(output_room(&o, 4096, pieces) > 0);
    CHECK_EQ(o.start, 0);
    CHECK_EQ(check_from(&o, 0, 8192), 8192);
    put(&o, 10);
    CHECK_EQ(o.start, 10);
    output_discard(&o);
}

static void test_a_reader_holds_back(void) {
    struct output o;
    struct output_reader slow = {0}, fast = {0};
    struct iovec pieces[2];
    fresh(&o, 8192);
    output_attach(&o, &slow, 0);
    output_attach(&o, &fast, 0);
    CHECK_EQ(put(&o, 20000), 8192);
    CHECK_EQ(output_room(&o, 1, pieces), 0);
    output_advance(&fast, 8192);
    CHECK_EQ(output_room(&o, 1, pieces), 0);
    output_advance(&slow, 100);
    CHECK_EQ(put(&o, 20000), 100);
    CHECK_EQ(o.start, 100);
    CHECK_EQ(o.dropped, 0);
    output_detach(&slow);
    CHECK_EQ(put(&o, 20000), 8192 - 100);
    CHECK_EQ(check_from(&o, fast.pos, 1 << 20), 8192);
    output_detach(&fast);
    CHECK_EQ(put(&o, 20000), 20000);
    output_detach(&fast);
    CHECK_EQ(o.dropped, o.start - 8192);
    output_discard(&o);
}

static void test_an_offset_that_is_gone(void) {
    struct output o;
    struct output_reader r = {0};
    fresh(&o, 4096);
    put(&o, 10000);
    output_attach(&o, &r, 10);
    CHECK_EQ(r.pos, 10000 - 4096);
    output_detach(&r);
    output_discard(&o);
}

static void test_first_bytes_are_small(void) {
    struct output o;
    char bytes[5000];
    fresh(&o, 100000);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(unsigned char)(i * 7 % 251);
    CHECK(output_first(&o, bytes, 3));
    CHECK_EQ(o.cap, 64);
    CHECK_EQ(check_from(&o, 0, 100), 3);
    CHECK_EQ(put(&o, 30000), 30000);
    CHECK_EQ(check_from(&o, 0, 1 << 20), 30003);
    output_discard(&o);
    fresh(&o, 10); /* a ceiling below the smallest ring */
    CHECK(output_first(&o, bytes, 10));
    CHECK_EQ(o.cap, 10);
    CHECK_EQ(put(&o, 25), 25);
    CHECK_EQ(o.start, 25);
    CHECK_EQ(check_from(&o, 25, 100), 10);
    output_discard(&o);
}

static struct output *ended;

static bool reclaim(struct output_pool *p, const struct output_pool *asking) {
    (void)asking;
    (void)p;
    if (ended == NULL || ended->cap == 0) return false;
    output_discard(ended);
    return true;
}

static void test_ceilings(void) {
    struct output a, b, c;
    struct output_reader r = {0};
    fresh(&a, 1 << 20);
    pool.max = 64 << 10;
    pool.reclaim = reclaim;
    output_init(&b, &pool, 1 << 20);
    output_init(&c, &pool, 1 << 20);
    ended = &a;
    put(&a, 40000);
    CHECK_EQ(a.cap, 65536);
    put(&b, 40000); /* what has ended goes first */
    CHECK_EQ(a.cap, 0);
    CHECK_EQ(b.cap, 65536);
    CHECK_EQ(check_from(&b, 0, 1 << 20), 40000);
    put(&c, 10000); /* then the largest gives up its oldest bytes */
    CHECK(b.cap < 65536);
    CHECK(c.cap > OUTPUT_MIN);
    CHECK(pool.used <= pool.max);
    CHECK_EQ(check_from(&b, b.start, 1 << 20), b.end - b.start);
    CHECK_EQ(check_from(&c, c.start, 1 << 20), c.end - c.start);
    output_discard(&c);
    output_attach(&b, &r, b.start); /* but never bytes that a reader still needs */
    put(&b, 100000);
    uint64_t start = b.start;
    put(&c, 100000);
    CHECK_EQ(b.start, start);
    CHECK(c.cap >= OUTPUT_MIN);
    CHECK(pool.used <= pool.max + OUTPUT_MIN);
    output_detach(&r);
    output_discard(&b);
    output_discard(&c);
    CHECK_EQ(pool.used, 0);
    CHECK(pool.first == NULL);
}

CHECK_MAIN(test_grows_and_keeps_the_newest, test_only_what_is_added_replaces, test_a_reader_holds_back,
           test_an_offset_that_is_gone, test_first_bytes_are_small, test_ceilings)
