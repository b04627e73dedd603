// links: agent/loop.c
#include "agent/loop.h"

#include <stddef.h>
#include <unistd.h>

#include "check.h"

static struct timer timers[64];
static int fired, order_ok = 1;
static int64_t last_due;

static void on_timer(struct timer *t) {
    fired++;
    if (t->due_ms < last_due || loop_now() < t->due_ms) order_ok = 0;
    last_due = t->due_ms;
    if (fired == 48) loop_stop(7);
}

static void timers_in_order(void) {
    CHECK(loop_init());
    fired = 0;
    last_due = 0;
    srand(2);
    for (int i = 0; i < 64; i++)
        CHECK(loop_timer(&timers[i], loop_now() + rand() % 40, on_timer));
    for (int i = 0; i < 64; i += 2) /* moved, both ways */
        CHECK(loop_timer(&timers[i], loop_now() + rand() % 40, on_timer));
    for (int i = 0; i < 64; i += 4) {
        loop_untimer(&timers[i]);
        loop_untimer(&timers[i]);
    }
    CHECK_EQ(loop_run(), 7);
    CHECK_EQ(fired, 48);
    CHECK(order_ok);
    loop_free();
}

/* Two descriptors are ready in one turn; the owner of the one frees the other: its event must not arrive. */
static struct watch *two[2];
static int seen;

static void on_ready(struct watch *w, uint32_t events) {
    (void)events;
    struct watch *other = w == two[0] ? two[1] : two[0];
    seen++;
    loop_unwatch(w);
    loop_unwatch(other);
    free(other);
    free(w);
    loop_stop(0);
}

static void unwatch_drops_events(void) {
    int a[2], b[2];
    CHECK(loop_init());
    CHECK(pipe(a) == 0 && pipe(b) == 0);
    CHECK(write(a[1], "x", 1) == 1 && write(b[1], "x", 1) == 1);
    for (int i = 0; i < 2; i++) {
        two[i] = calloc(1, sizeof *two[i]);
        CHECK(loop_watch(two[i], i == 0 ? a[0] : b[0], EPOLLIN, on_ready));
    }
    CHECK_EQ(loop_run(), 0);
    CHECK_EQ(seen, 1);
    for (int i = 0; i < 2; i++) {
        close(a[i]);
        close(b[i]);
    }
    loop_free();
}

static struct later laters[4];
static char order[16];
static size_t order_len;

static void on_later(struct later *l) {
    order[order_len++] = (char)('0' + (l - laters));
    if (l == &laters[0] && order_len == 1) {
        loop_later(&laters[0], on_later);
        loop_unlater(&laters[2]);
    }
    if (order_len == 4) loop_stop(0);
}

static void later_runs_once_and_in_order(void) {
    CHECK(loop_init());
    for (int i = 0; i < 4; i++) {
        loop_later(&laters[i], on_later);
        loop_later(&laters[i], on_later);
    }
    CHECK_EQ(loop_run(), 0);
    CHECK_STR(order, "0130");
    loop_unlater(&laters[1]);
    loop_free();
}

CHECK_MAIN(timers_in_order, unwatch_drops_events, later_runs_once_and_in_order)
