#include "agent/tenant_starts.h"

#include <stdlib.h>
#include <string.h>

#include "agent/loop.h"
#include "agent/sandbox.h"
#include "agent/tenant.h"
#include "util/clock.h"
#include "util/testing.h"

#define TURN_US 1000

struct tenant_start {
    struct tenant_start *next, **link; /* of the same sandbox */
    struct exchange *x;
    void (*start)(struct exchange *x);
};

static struct route exec, processes;
static void (*start_exec)(struct exchange *x), (*start_processes)(struct exchange *x);

static int64_t spent_us; /* in this turn of the loop */
static struct later turn_end;
static struct timer timer;
static struct tenant *first, **last = &first; /* those with starts that wait */

static void new_turn(struct later *l) {
    (void)l;
    spent_us = 0;
}

static void run(struct exchange *x, void (*start)(struct exchange *x)) {
    int64_t begun = clock_us();
    start(x);
    spent_us += clock_us() - begun;
    loop_later(&turn_end, new_turn);
}

static void unlink_start(struct tenant_start *s) {
    *s->link = s->next;
    if (s->next != NULL) s->next->link = s->link;
}

static void closed(struct exchange *x) {
    struct tenant_start *s = x->ctx;
    unlink_start(s);
    free(s);
}

static void enter(struct tenant *t) {
    if (t->starts_wait) return;
    t->starts_wait = true;
    t->held++;
    t->next_start = NULL;
    *last = t;
    last = &t->next_start;
}

static void run_waiting(struct timer *t) {
    while (first != NULL && spent_us < TURN_US) {
        struct tenant *tenant = first;
        struct tenant_start *s = tenant->starts;
        first = tenant->next_start;
        if (first == NULL) last = &first;
        tenant->starts_wait = false;
        tenant->held--;
        if (s == NULL) continue; /* they are gone */
        struct exchange *x = s->x;
        void (*start)(struct exchange * x) = s->start;
        closed(x);
        x->ctx = NULL;
        x->on_close = NULL;
        if (tenant->starts != NULL) enter(tenant);
        run(x, start);
    }
    if (first != NULL) loop_timer(t, loop_now(), run_waiting);
}

/* Without memory, or a timer, it does not wait. */
static void start_or_wait(struct exchange *x, void (*start)(struct exchange *x)) {
    struct tenant *t = x->sandbox->tenant;
    bool now = (spent_us < TURN_US && t->starts == NULL) || testing_off("host-starts");
    struct tenant_start *s = now ? NULL : calloc(1, sizeof *s);
    if (s == NULL || (timer.slot == 0 && !loop_timer(&timer, loop_now(), run_waiting))) {
        free(s);
        run(x, start);
        return;
    }
    s->x = x;
    s->start = start;
    s->link = &t->starts;
    while (*s->link != NULL)
        s->link = &(*s->link)->next;
    *s->link = s;
    x->ctx = s;
    x->on_close = closed;
    enter(t);
}

static void wait_exec(struct exchange *x) {
    start_or_wait(x, start_exec);
}

static void wait_processes(struct exchange *x) {
    start_or_wait(x, start_processes);
}

const struct route *tenant_starts_route(const struct route *r) {
    if (r->body != BODY_BUFFERED || strcmp(r->method, "POST") != 0) return r;
    if (strcmp(r->pattern, "exec") == 0) {
        exec = *r;
        start_exec = r->start;
        exec.start = wait_exec;
        return &exec;
    }
    if (strcmp(r->pattern, "processes") != 0) return r;
    processes = *r;
    start_processes = r->start;
    processes.start = wait_processes;
    return &processes;
}
