/* The end of a sandbox of host mode: its processes, then its files, then its place. */
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "agent/conn.h"
#include "agent/reap.h"
#include "agent/route.h"
#include "agent/tenant.h"
#include "agent/tenant_home.h"
#include "agent/tenant_kill.h"
#include "agent/workers.h"
#include "util/testing.h"
#include "wire/limits.h"

#define PAUSE_FIRST  1
#define PAUSE_MOST   50
#define DEADLINE     10000 /* for its processes; then they are named as what is left */
#define LEFT         1000  /* between looks at what is left */
#define READERS      1000  /* for those who still read its last output */
#define ALL_DEADLINE 15000 /* for all sandboxes, at shutdown */

struct tenant_end {
    struct tenant *tenant;
    struct job job;
    struct timer timer;
    int64_t deadline, cut_at; /* for its processes; for its readers, once they have gone */
    int pause;
    int error; /* of the removal */
    bool survivors;
    bool told; /* who waits has been told */
    struct tenant_kill killer;
};

static void next_round(struct timer *t);
static void settle(struct timer *t);

static struct tenant_end *end_of_timer(struct timer *t) {
    return (struct tenant_end *)((char *)t - offsetof(struct tenant_end, timer));
}

static void again(struct tenant_end *e, void (*what)(struct timer *)) {
    loop_timer(&e->timer, loop_now() + e->pause, what);
    if (e->pause < PAUSE_MOST) e->pause *= 2;
}

/* ---- Processes */

static void removed(struct job *j) {
    struct tenant_end *e = (struct tenant_end *)((char *)j - offsetof(struct tenant_end, job));
    e->pause = PAUSE_FIRST;
    settle(&e->timer);
}

static void remove_home(struct job *j) {
    struct tenant_end *e = (struct tenant_end *)((char *)j - offsetof(struct tenant_end, job));
    e->error = tenant_home_remove(e->tenant->id);
    int error = tenant_home_sweep(e->tenant->uid);
    if (e->error == 0) e->error = error;
}

static void clear_up(struct tenant_end *e);

static void look_again(struct timer *t) {
    clear_up(end_of_timer(t));
}

static bool is_of_files(const struct route *r) {
    return strncmp(r->pattern, "files/", 6) == 0;
}

/* What an upload puts in place now would stay. */
static void clear_up(struct tenant_end *e) {
    if (!testing_off("end-files")) {
        conn_abort_some(&e->tenant->sandbox, is_of_files);
        if (e->tenant->held > 0 && loop_now() < e->deadline) {
            again(e, look_again);
            return;
        }
    }
    e->job.work = remove_home;
    e->job.done = removed;
    workers_submit(&e->job);
}

static void some_are_left(struct tenant_end *e) {
    bool known = e->survivors;
    if (loop_now() < e->deadline) {
        again(e, next_round);
        return;
    }
    e->survivors = true;
    if (known)
        loop_timer(&e->timer, loop_now() + LEFT, next_round);
    else
        clear_up(e);
}

static void killer_ended(struct tenant_kill *k, bool none) {
    struct tenant_end *e = (struct tenant_end *)((char *)k - offsetof(struct tenant_end, killer));
    if (!none || e->tenant->sandbox.processes.running > 0) {
        some_are_left(e);
        return;
    }
    e->survivors = false;
    clear_up(e);
}

static void next_round(struct timer *t) {
    struct tenant_end *e = end_of_timer(t);
    /* Those that have not become the user yet; none of them has been reaped, so the numbers are theirs. */
    for (struct process *p = e->tenant->sandbox.processes.oldest; p != NULL; p = p->newer) {
        if (p->state != PROCESS_ENDED && p->limit == NULL) p->limit = "sandbox";
        if (reap_expects(p->pid)) kill(p->pid, SIGKILL);
    }
    e->killer.uid = e->tenant->uid;
    e->killer.ended = killer_ended;
    if (!tenant_kill_start(&e->killer)) some_are_left(e);
}

/* ---- What remains */

static void tell(struct tenant *t, const char *left) {
    for (struct tenant_waiter *w; (w = t->waiters) != NULL;) {
        t->waiters = w->next;
        w->ended(w, left);
    }
}

static const char *left_of(const struct tenant_end *e) {
    if (e->survivors) return "processes that could not be killed";
    return e->error != 0 ? "files that could not be removed" : NULL;
}

/* Its last readers go, its processes are forgotten; then nothing points to it any more. */
static void settle(struct timer *timer) {
    struct tenant_end *e = end_of_timer(timer);
    struct tenant *t = e->tenant;
    if (!e->told) {
        for (struct process *p = t->sandbox.processes.oldest; p != NULL; p = p->newer)
            process_forget(p);
        e->told = true;
        e->cut_at = loop_now() + READERS;
        tell(t, left_of(e));
    }
    if ((e->survivors || e->error != 0) && !testing_off("tenant-left")) {
        /* Neither its user nor its place can be given to another before that has gone, too. */
        t->state = TENANT_GONE;
        loop_timer(&e->timer, loop_now() + LEFT, next_round);
        return;
    }
    if (loop_now() >= e->cut_at) conn_abort_some(&t->sandbox, NULL);
    if (t->held > 0 || t->sandbox.under_way > 0 || t->sandbox.processes.oldest != NULL) {
        again(e, settle);
        return;
    }
    t->end = NULL;
    tenant_release(t);
    free(e);
}

void tenant_end(struct tenant *t, struct tenant_waiter *w) {
    if (w != NULL) {
        w->next = t->waiters;
        t->waiters = w;
    }
    if (t->state >= TENANT_ENDING) return;
    struct tenant_end *e = calloc(1, sizeof *e);
    if (e == NULL) {
        tell(t, "everything, for want of memory");
        return;
    }
    e->tenant = t;
    e->deadline = loop_now() + DEADLINE;
    e->pause = PAUSE_FIRST;
    t->end = e;
    t->state = TENANT_ENDING;
    t->sandbox.processes.closed = true;
    next_round(&e->timer);
}

void tenant_unwait(struct tenant *t, struct tenant_waiter *w) {
    for (struct tenant_waiter **at = &t->waiters; *at != NULL; at = &(*at)->next) {
        if (*at != w) continue;
        *at = w->next;
        return;
    }
}

/* ---- All of them */

static struct timer all_timer;
static int64_t all_deadline;
static void (*all_done)(void);

static void look_at_all(struct timer *t) {
    bool left = false;
    for (struct tenant *i = tenants_first(); i != NULL; i = i->next) {
        if (i->state == TENANT_LIVE) tenant_end(i, NULL);
        left = left || i->state != TENANT_GONE;
    }
    if (!left || loop_now() >= all_deadline)
        all_done();
    else
        loop_timer(t, loop_now() + PAUSE_MOST, look_at_all);
}

void tenants_end_all(void (*done)(void)) {
    all_done = done;
    all_deadline = loop_now() + ALL_DEADLINE;
    tenants_close();
    look_at_all(&all_timer);
}
