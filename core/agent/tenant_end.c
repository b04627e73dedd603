/* The end of a sandbox of host mode: its processes, then its files, then its place. A user id bounds its
   processes exactly: one who has become that user, and signals everybody, reaches them all and nobody else.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "agent/conn.h"
#include "agent/rawcall.h"
#include "agent/reap.h"
#include "agent/tenant.h"
#include "agent/tenant_home.h"
#include "agent/workers.h"
#include "util/testing.h"
#include "wire/limits.h"

#define PAUSE_FIRST  1
#define PAUSE_MOST   50
#define DEADLINE     10000 /* for its processes; then they are named as what is left */
#define READERS      1000  /* for those who still read its last output */
#define ALL_DEADLINE 15000 /* for all sandboxes, at shutdown */
#define STACK_WORDS  512

enum { KILLED_SOME = 0, KILLED_NONE = 1, KILLED_NOT = 2 };

struct tenant_end {
    struct tenant *tenant;
    struct job job;
    struct timer timer;
    struct reap killer;
    int64_t deadline, cut_at; /* for its processes; for its readers, once they have gone */
    int pause;
    int error; /* of the removal */
    bool survivors;
    bool told; /* who waits has been told */
    _Atomic int tid;
    void *stack[STACK_WORDS] __attribute__((aligned(16)));
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

RAWCALL_CHILD static void kill_all(void *arg) {
    struct tenant_end *e = arg;
    const uint64_t pair[2] = {2, 2};
    long uid = e->tenant->uid, code = KILLED_NOT;
    /* ESRCH: but for this one and an agent that is the machine's first process there is none. */
    long killed = raw3(SYS_setresuid, uid, uid, uid) == 0 ? raw3(SYS_kill, -1, SIGKILL, 0) : -EPERM;
    if (killed == 0 || killed == -ESRCH) {
        /* That says nothing about how many there were. But who may be two, and can be two, was alone: what
         * has ended counts until it has been collected. */
        raw4(SYS_prlimit64, 0, RLIMIT_NPROC, (long)pair, 0);
        long second = raw_clone_probe(CLONE_VM | SIGCHLD);
        code = second > 0 && raw4(SYS_wait4, second, 0, 0, 0) == second ? KILLED_NONE : KILLED_SOME;
    }
    for (;;)
        raw1(SYS_exit, code);
}

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

static void clear_up(struct tenant_end *e) {
    e->job.work = remove_home;
    e->job.done = removed;
    workers_submit(&e->job);
}

static void killer_ended(struct reap *r, int code, int signal) {
    struct tenant_end *e = (struct tenant_end *)((char *)r - offsetof(struct tenant_end, killer));
    bool none = signal == 0 && code == KILLED_NONE && e->tenant->sandbox.processes.running == 0;
    if (none) {
        clear_up(e);
    } else if (loop_now() >= e->deadline) {
        e->survivors = true;
        clear_up(e);
    } else {
        again(e, next_round);
    }
}

static void next_round(struct timer *t) {
    struct tenant_end *e = end_of_timer(t);
    /* Those that have not become the user yet; none of them has been reaped, so the numbers are theirs. */
    for (struct process *p = e->tenant->sandbox.processes.oldest; p != NULL; p = p->newer) {
        if (p->state == PROCESS_RUNNING && p->limit == NULL) p->limit = "sandbox";
        if (reap_expects(p->pid)) kill(p->pid, SIGKILL);
    }
    void **top = &e->stack[STACK_WORDS - 2];
    top[0] = (void *)(uintptr_t)kill_all;
    top[1] = e;
    atomic_store(&e->tid, 1);
    long pid = raw_clone(CLONE_VM | CLONE_CHILD_CLEARTID | SIGCHLD, top, (int *)&e->tid);
    if (pid > 0) {
        reap_expect(&e->killer, (pid_t)pid, killer_ended);
    } else if (loop_now() >= e->deadline) {
        e->survivors = true;
        clear_up(e);
    } else {
        again(e, next_round);
    }
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
    if (e->survivors) { /* neither its user nor its place can be given to another */
        t->state = TENANT_GONE;
        return;
    }
    if (loop_now() >= e->cut_at) conn_abort_all(&t->sandbox);
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
    if (t->state == TENANT_ENDING) return;
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
