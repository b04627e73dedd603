/* Ends that come from outside of a process's own requests: limits of the sandbox and the shutdown of the
 * agent. */
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "agent/process.h"
#include "util/testing.h"

#define INTERVAL_COUNT 10

static struct tree_op everything;
static struct timer grace;
static int64_t kill_at;
static void (*all_done)(void);

bool process_limit_hit(pid_t pid, const char *limit) {
    pid_t session = getsid(pid);
    for (struct process *p = process_first(); p != NULL; p = p->newer) {
        if (p->state != PROCESS_RUNNING || (p->pid != pid && p->pid != session)) continue;
        p->limit = limit;
        process_kill(p);
        return true;
    }
    return false;
}

static void killed(struct tree_op *op) {
    (void)op;
    all_done();
}

static void kill_everything(void) {
    tree_cancel(&everything);
    everything.signal = SIGKILL;
    everything.done = killed;
    tree_start(&everything);
}

static void look_again(struct timer *t);

/* Those that end on SIGTERM should not make the others wait for the whole grace. */
static void counted(struct tree_op *op) {
    if (op->signalled == 0 || loop_now() >= kill_at || (testing_off("grace-all") && process_running() == 0))
        kill_everything();
    else
        loop_timer(&grace, loop_now() + INTERVAL_COUNT, look_again);
}

static void look_again(struct timer *t) {
    (void)t;
    everything.signal = 0;
    everything.done = counted;
    tree_start(&everything);
}

static void told(struct tree_op *op) {
    (void)op;
    look_again(&grace);
}

void process_end_all(int64_t grace_ms, void (*done)(void)) {
    if (all_done != NULL) return;
    all_done = done;
    process_refuse_starts();
    for (struct process *p = process_first(); p != NULL; p = p->newer) {
        if (p->state == PROCESS_RUNNING && p->limit == NULL) p->limit = "sandbox";
    }
    kill_at = loop_now() + grace_ms;
    everything.number = TREE_ALL;
    everything.alone = getpid() == 1;
    everything.signal = SIGTERM;
    everything.done = told;
    tree_start(&everything);
}
