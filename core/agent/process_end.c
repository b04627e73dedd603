/* Ends that come from outside of a process's own requests: limits of the sandbox and the shutdown of the
 * agent. */
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "agent/process.h"
#include "agent/process_table.h"
#include "util/testing.h"

#define INTERVAL_COUNT 10

static struct tree_op everything;
static struct timer grace;
static int64_t kill_at;
static void (*all_done)(void);

bool process_limit_hit(pid_t pid, const char *limit) {
    struct process *p = process_table_running(pid);
    if (p == NULL) p = process_table_running(getsid(pid));
    if (p == NULL) return false;
    p->limit = limit;
    process_kill(p);
    return true;
}

static void name_ending(struct process *p) {
    if (p->state != PROCESS_ENDED && p->limit == NULL) p->limit = "sandbox";
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
    process_table_each(name_ending);
    kill_at = loop_now() + grace_ms;
    everything.number = TREE_ALL;
    everything.alone = getpid() == 1;
    everything.signal = SIGTERM;
    everything.done = told;
    tree_start(&everything);
}
