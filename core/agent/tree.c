#include "agent/tree.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/host.h"
#include "agent/procfs.h"
#include "agent/reap.h"
#include "util/clock.h"
#include "util/scope.h"
#include "util/sort.h"
#include "util/testing.h"
#include "wire/limits.h"

#define TAG_TOP    (UINT64_C(1) << 60)
#define TAG_NUMBER 30   /* bits of a mark that count commands */
#define TAG_LEAST  8    /* random bits without which the marks of two agents are too likely the same */
#define STEP_US    2000 /* of looking at processes, then the loop goes on */
#define PAUSE_MOST 50

struct seen {
    pid_t pid, parent;
    uint64_t started;
    struct tree_op *op;
    bool stray; /* came to the agent with a mark that is nobody's */
};

static uint64_t own_limit, tag_base, highest; /* marks are tag_base - number; tag_base 0: there are none */
static struct tree_op *ops;
static struct timer step_timer;
static unsigned pause_ms = 1;

/* The scan under way: first everything is looked at, then what belongs to an operation is signalled. */
static bool in_pass, listed;
static bool blind; /* something could not be looked at: what was not found may be there */
static bool older; /* something runs that was there before all of the operations' commands */
static uint64_t earliest;
static struct seen *seen;
static size_t seen_count, seen_room, seen_at;

/* Marks lie below the limit that the agent itself has, at a random place, so that other agents on the same
   machine have others, also one that runs inside a command. */
void tree_init(void) {
    procfs_init();
    struct rlimit limit;
    uint64_t random;
    if (prlimit(0, RLIMIT_RTTIME, NULL, &limit) != 0 || getrandom(&random, sizeof random, 0) != sizeof random)
        return;
    own_limit = limit.rlim_max == RLIM_INFINITY ? UINT64_MAX : (uint64_t)limit.rlim_max;
    uint64_t top = own_limit < TAG_TOP ? own_limit : TAG_TOP;
    unsigned bits = 0;
    while (bits < TAG_NUMBER && top >> (bits + TAG_NUMBER + 2) != 0)
        bits++;
    if (bits < TAG_LEAST) return;
    tag_base = top - 1 - ((random & ((UINT64_C(1) << bits) - 1)) << TAG_NUMBER);
}

uint64_t tree_tag(uint64_t n) {
    return tag_base == 0 || n >> TAG_NUMBER != 0 || testing_off("tree-tag") ? 0 : tag_base - n;
}

void tree_started(uint64_t n) {
    highest = n;
    for (struct tree_op *op = ops; op != NULL; op = op->next)
        if (op->number != TREE_ALL) op->alone = false;
}

uint64_t tree_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    uint64_t hz = getauxval(AT_CLKTCK);
    uint64_t ticks = (uint64_t)now.tv_sec * hz + (uint64_t)now.tv_nsec * hz / 1000000000;
    return ticks > 2 ? ticks - 2 : 0;
}

/* The command number that a limit stands for; 0 = none that was given out. */
static uint64_t number_of(uint64_t hard) {
    return tag_base != 0 && hard < tag_base && tag_base - hard <= highest ? tag_base - hard : 0;
}

/* A member that is dying may have lost the parent that made it one. */
static bool was_signalled(const struct tree_op *op, pid_t pid) {
    for (size_t i = 0; i < op->before_count; i++)
        if (op->before[i] == pid) return true;
    return false;
}

/* A sandbox of a host could take on the mark of another's command, or nobody's. */
static bool concerns(const struct tree_op *op, pid_t pid) {
    return agent_host() == NULL || agent_host()->owns(op->number, pid);
}

/* Which operation a process belongs to by what it is itself. A kill comes before any other signal. The
   first process of a command is known without its mark, which it has not got at once. */
static struct tree_op *owner(const struct seen *s, const struct procfs_stat *stat, bool *stray) {
    uint64_t hard = own_limit, number = 0;
    if (procfs_realtime_limit(s->pid, &hard)) number = number_of(hard);
    bool ours = stat->parent == getpid(), first = ours && reap_expects(s->pid) && !testing_off("tree-first");
    *stray = !first && number == 0 && (hard != own_limit || ours);
    struct tree_op *found = NULL;
    for (struct tree_op *op = ops; op != NULL; op = op->next) {
        if (op->passes == 0) continue;
        bool by_mark = op->number == TREE_ALL ? number != 0 || first : number != 0 && op->number == number;
        bool by_leader = op->leader != 0 &&
                         (s->pid == op->leader || stat->session == op->leader || stat->group == op->leader);
        if (!by_mark && !by_leader && !(*stray && (op->alone || was_signalled(op, s->pid)))) continue;
        if (!concerns(op, s->pid)) continue;
        found = op;
        if (op->signal == SIGKILL) break;
    }
    return found;
}

static bool remember(const struct seen *s) {
    if (seen_count == seen_room) {
        size_t room = seen_room == 0 ? 256 : seen_room * 2;
        struct seen *grown = realloc(seen, room * sizeof *grown);
        if (grown == NULL) return false;
        seen = grown;
        seen_room = room;
    }
    seen[seen_count++] = *s;
    return true;
}

static void look_at(pid_t pid) {
    struct procfs_stat stat;
    if (pid == getpid() || !procfs_stat(pid, &stat)) return;
    if (stat.kernel || procfs_is_dead(&stat)) return;
    if (stat.started < earliest) {
        older = true;
        return;
    }
    struct seen s = {.pid = pid, .parent = stat.parent, .started = stat.started};
    bool stray = false;
    s.op = owner(&s, &stat, &stray);
    s.stray = stray && stat.parent == getpid();
    if (!remember(&s)) blind = true;
}

static int by_pid(const void *a, const void *b) {
    pid_t x = ((const struct seen *)a)->pid, y = ((const struct seen *)b)->pid;
    return (x > y) - (x < y);
}

/* Children of members are members, whatever they did to their limits. */
static void follow_parents(void) {
    if (seen_count == 0) return;
    sort_items(seen, seen_count, sizeof *seen, by_pid);
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = 0; i < seen_count; i++) {
            if (seen[i].op != NULL) continue;
            struct seen key = {.pid = seen[i].parent};
            const struct seen *parent = bsearch(&key, seen, seen_count, sizeof *seen, by_pid);
            if (parent == NULL || parent->op == NULL) continue;
            seen[i].op = parent->op;
            changed = true;
        }
    }
}

static void note_survivor(struct tree_op *op, pid_t pid) {
    if (op->survivor_count == op->room) {
        size_t room = op->room == 0 ? 16 : op->room * 2;
        pid_t *grown = realloc(op->survivors, room * sizeof *grown);
        if (grown == NULL) return;
        op->survivors = grown;
        op->room = room;
    }
    op->survivors[op->survivor_count++] = pid;
}

/* The descriptor pins the process: if it is still the one that was looked at, the signal reaches it or
 * nobody. Where a kernel or a filter has no such descriptors, the number has to do, checked just before. */
static void signal_member(const struct seen *s) {
    struct tree_op *op = s->op;
    cleanup_fd int fd = procfs_pidfd(s->pid);
    bool have_none = fd < 0 && (errno == ENOSYS || errno == EPERM);
    struct procfs_stat stat;
    if ((fd < 0 && !have_none) || !procfs_stat(s->pid, &stat)) return;
    if (stat.started != s->started || procfs_is_dead(&stat)) return;
    if (op->signal == SIGKILL) {
        struct rlimit none = {0, 0};
        prlimit(s->pid, RLIMIT_NPROC, &none, NULL); /* so that it cannot fork away from us; allowed or not */
        note_survivor(op, s->pid);
    }
    int sent =
        have_none ? kill(s->pid, op->signal) : (int)syscall(SYS_pidfd_send_signal, fd, op->signal, NULL, 0);
    if (sent == 0 && !was_signalled(op, s->pid)) op->signalled++;
}

/* A process that forks and exits all the time can be missed by a look; but each time it does, an orphan comes
 * to us and ends. */
static void orphan_ended(pid_t pid) {
    uint64_t hard, number = procfs_realtime_limit(pid, &hard) ? number_of(hard) : 0;
    for (struct tree_op *op = ops; op != NULL; op = op->next)
        if ((number == 0 || op->number == TREE_ALL || op->number == number) && concerns(op, pid))
            op->stirred = true;
    (void)procfs_fell_short(); /* then its number is 0 */
}

static bool is_survivor(const struct tree_op *op, pid_t pid) {
    for (size_t i = 0; i < op->survivor_count; i++)
        if (op->survivors[i] == pid) return true;
    return false;
}

static void finish(struct tree_op *op) {
    if (op->signal != SIGKILL) op->survivor_count = 0;
    for (size_t i = 0; i < seen_count && op->signal == SIGKILL; i++)
        if (seen[i].stray && seen[i].op == NULL && seen[i].started >= op->since && concerns(op, seen[i].pid))
            note_survivor(op, seen[i].pid);
    if (op->signal == SIGKILL && op->leader != 0 && !is_survivor(op, op->leader))
        note_survivor(op, op->leader);
    tree_cancel(op);
    op->done(op);
}

/* A kill is done when a look at everything found nobody, nothing has stirred meanwhile and the first process
 * has been collected; or when its time is up. */
static bool is_done(const struct tree_op *op, int64_t now) {
    if (op->signal != SIGKILL || testing_off("tree-repeat")) return true;
    if (now >= op->deadline && op->passes > 1) return true;
    return op->survivor_count == 0 && !op->stirred && !blind && op->leader == 0;
}

static void step(struct timer *t);

static bool is_everything(const struct tree_op *op) {
    struct procfs_stat stat;
    for (size_t i = 0; i < seen_count; i++)
        if (seen[i].op != op && procfs_stat(seen[i].pid, &stat) && !procfs_is_dead(&stat)) return false;
    return !older && !blind;
}

static void end_pass(void) {
    in_pass = false;
    /* Beside the first command nobody else can have left anything. */
    for (struct tree_op *op = ops; op != NULL; op = op->next)
        op->everything = op->passes > 0 && (highest == 1 || is_everything(op));
    reap_signal();
    int64_t now = loop_now();
    for (struct tree_op *op = ops; op != NULL;) {
        struct tree_op *next = op->next;
        if (op->passes > 0 && is_done(op, now)) {
            finish(op);
            next = ops; /* it may have started or cancelled others */
        }
        op = next;
    }
    seen_count = 0;
    if (ops == NULL) return;
    loop_timer(&step_timer, now + pause_ms, step);
    if (pause_ms < PAUSE_MOST) pause_ms *= 2;
}

static void swap_lists(struct tree_op *op) {
    pid_t *list = op->before;
    size_t room = op->before_room;
    op->before = op->survivors;
    op->before_count = op->survivor_count;
    op->before_room = op->room;
    op->survivors = list;
    op->survivor_count = 0;
    op->room = room;
}

static void begin_pass(void) {
    in_pass = true;
    seen_count = 0;
    seen_at = 0;
    earliest = UINT64_MAX;
    blind = older = false;
    listed = !procfs_list();
    for (struct tree_op *op = ops; op != NULL; op = op->next) {
        swap_lists(op);
        op->passes++;
        op->stirred = false;
        if (op->since < earliest) earliest = op->since;
        /* What forks faster than it can be listed: the kernel kills a group in one go. The leader is not
         * reaped, so the group is its. */
        bool at_once = op->signal == SIGKILL && op->leader != 0 && (op->passes > 1 || listed);
        if (at_once) kill(-op->leader, SIGKILL);
        /* A pid namespace that holds nothing else ends in one go, however fast it forks. */
        bool whole = op->signal == SIGKILL && op->alone && op->everything && agent.local && getpid() == 1;
        if (whole && !testing_off("tree-whole")) kill(-1, SIGKILL);
    }
}

/* False: time is up and there is more to do. */
static bool look_at_all(int64_t until) {
    while (!listed) {
        pid_t pid = procfs_next();
        if (pid == 0) {
            listed = true;
            follow_parents();
            break;
        }
        look_at(pid);
        if (clock_us() >= until) return false;
    }
    return true;
}

static bool signal_all(int64_t until) {
    while (seen_at < seen_count) {
        const struct seen *s = &seen[seen_at++];
        if (s->op != NULL) signal_member(s);
        if (clock_us() >= until) return false;
    }
    return true;
}

static void step(struct timer *t) {
    (void)t;
    if (!in_pass && ops == NULL) return;
    if (!in_pass) begin_pass();
    int64_t until = clock_us() + STEP_US;
    bool complete = look_at_all(until) && signal_all(until);
    if (procfs_fell_short()) blind = true;
    if (complete)
        end_pass();
    else
        loop_timer(&step_timer, loop_now() + 1, step); /* not in this turn: others come first */
}

void tree_start(struct tree_op *op) {
    if (op->active) return;
    op->active = true;
    op->passes = 0;
    /* The first command: nobody else can have left anything. */
    op->everything = (op->uncounted || testing_off("kill-counts")) && highest == 1;
    op->signalled = 0;
    op->survivor_count = op->before_count = 0;
    op->deadline = loop_now() + TIMEOUT_TREE_KILL;
    op->next = ops;
    ops = op;
    reap_on_orphan(orphan_ended);
    pause_ms = 1;
    loop_timer(&step_timer, loop_now(), step);
}

void tree_cancel(struct tree_op *op) {
    if (!op->active) return;
    struct tree_op **at = &ops;
    while (*at != op)
        at = &(*at)->next;
    *at = op->next;
    op->active = false;
    if (ops == NULL) reap_on_orphan(NULL);
    for (size_t i = 0; i < seen_count; i++)
        if (seen[i].op == op) seen[i].op = NULL;
}
