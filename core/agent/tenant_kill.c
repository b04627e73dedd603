#include "agent/tenant_kill.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "agent/process.h"
#include "agent/rawcall.h"

#define KILLER 1000 /* ms, for one who kills: while it has the user, the user's processes may stop it */

enum { KILLED_SOME = 0, KILLED_NONE = 1, KILLED_NOT = 2 };

RAWCALL_CHILD static void kill_all(void *arg) {
    const struct tenant_kill *k = arg;
    const uint64_t pair[2] = {2, 2};
    long uid = k->uid, code = KILLED_NOT;
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

static void killer_ended(struct reap *r, int code, int signal) {
    struct tenant_kill *k = (struct tenant_kill *)((char *)r - offsetof(struct tenant_kill, reap));
    loop_untimer(&k->guard);
    k->ended(k, signal == 0 && code == KILLED_NONE);
}

static void end_killer(struct timer *t) {
    kill(((struct tenant_kill *)((char *)t - offsetof(struct tenant_kill, guard)))->reap.pid, SIGKILL);
}

bool tenant_kill_start(struct tenant_kill *k) {
    void **top = &k->stack[TENANT_KILL_STACK - 2];
    top[0] = (void *)(uintptr_t)kill_all;
    top[1] = k;
    atomic_store(&k->tid, 1);
    long pid = raw_clone(CLONE_VM | CLONE_CHILD_CLEARTID | SIGCHLD, top, (int *)&k->tid);
    if (pid <= 0) return false;
    reap_expect(&k->reap, (pid_t)pid, killer_ended);
    loop_timer(&k->guard, loop_now() + KILLER, end_killer);
    return true;
}

struct stop {
    struct tenant_kill kill; /* first, so that the one is the other */
    struct tenant *tenant;
};

static void stopped(struct tenant_kill *k, bool none) {
    struct stop *s = (struct stop *)k;
    (void)none; /* who is left is found by the next look */
    s->tenant->stopping = false;
    s->tenant->held--;
    free(s);
}

void tenant_kill_commands(struct tenant *t, const char *limit) {
    for (struct process *p = t->sandbox.processes.oldest; p != NULL; p = p->newer) {
        bool runs = p->state == PROCESS_RUNNING || p->state == PROCESS_STARTING;
        if (runs && p->limit == NULL) p->limit = limit;
        if (runs && reap_expects(p->pid)) kill(p->pid, SIGKILL);
    }
    struct stop *s = t->stopping ? NULL : calloc(1, sizeof *s);
    if (s == NULL) return;
    s->tenant = t;
    s->kill.uid = t->uid;
    s->kill.ended = stopped;
    if (!tenant_kill_start(&s->kill)) {
        free(s);
        return;
    }
    t->stopping = true;
    t->held++;
}
