#include "agent/tenant_watch.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/memory.h"
#include "agent/process.h"
#include "agent/process_table.h"
#include "agent/tenant_home.h"
#include "agent/tenant_kill.h"
#include "agent/workers.h"
#include "util/clock.h"
#include "util/dir.h"
#include "util/scope.h"
#include "util/testing.h"
#include "util/text.h"
#include "util/whole.h"
#include "wire/limits.h"

/* Milliseconds */
#define SLOW_LOOK  1000 /* between two exact looks that found nothing wrong */
#define KILL_GRACE 2000 /* a killed process may take this to give its memory back */
#define KILL_ROW   1000 /* after this long of killing one by one all go */
#define KILL_SOON  200  /* the same, a quarter over the limit */
#define STARTED    1000 /* a command may take this long to leave the agent's memory */

/* Smaller processes decide nothing when the machine has no memory left. */
#define ORDER_FROM MIB(4)

#define FIRST_IN_LINE "1000"

#define NOBODY ((size_t)-1)

/* A sandbox in the look. */
struct one {
    struct tenant *tenant;
    size_t next; /* in its bucket */
    struct tenant_watched watched;
    uint64_t limit;
    bool asked;
    size_t first; /* of its processes */
    uint64_t most, files;
    int victim; /* pidfd of who has to go, or -1 */
    pid_t victim_pid;
    bool sweep; /* its files in /dev/shm have to go */
};

struct found {
    pid_t pid;
    bool raise;  /* it left its command before that was put first in line */
    size_t next; /* of the same sandbox */
};

/* At most one look at a time. A worker makes it, and the loop judges what it found. What follows belongs to
   the worker while it is under way. */
static struct {
    struct job job;
    int64_t begun, ended;
    bool blind;
    struct one *ones;
    size_t count;
    size_t *buckets; /* by user; their number is a power of two */
    size_t mask;
    struct found *found;
    size_t found_count, found_room;
} look;

static bool under_way;
static struct timer timer;
static struct watch_waiter *waiting, *served;

/* ---- On a worker */

static struct one *one_of(uid_t uid) {
    size_t i = look.buckets[uid & look.mask];
    while (i != NOBODY && look.ones[i].tenant->uid != uid)
        i = look.ones[i].next;
    return i == NOBODY ? NULL : &look.ones[i];
}

static bool is_first_in_line(pid_t pid) {
    char path[40], text[16];
    text_format(path, sizeof path, "/proc/%d/oom_score_adj", (int)pid);
    return !whole_read(AT_FDCWD, path, text, sizeof text) ||
           strncmp(text, FIRST_IN_LINE, strlen(FIRST_IN_LINE)) == 0;
}

static bool add_process(struct one *o, pid_t pid) {
    if (look.found_count == look.found_room) {
        size_t room = look.found_room == 0 ? 256 : look.found_room * 2;
        struct found *more = realloc(look.found, room * sizeof *more);
        if (more == NULL) return false;
        look.found = more;
        look.found_room = room;
    }
    uint64_t size = memory_resident(pid);
    look.found[look.found_count] =
        (struct found){.pid = pid, .next = o->first, .raise = size >= ORDER_FROM && !is_first_in_line(pid)};
    o->first = look.found_count++;
    o->watched.processes++;
    o->most += size;
    return true;
}

/* A directory of /proc belongs to the user of its process, whatever that has done to be unreadable. */
static bool find_processes(void) {
    struct dir proc;
    bool ok = dir_open_path(&proc, "/proc");
    for (const struct dir_entry *d; ok && (d = dir_next(&proc)) != NULL;) {
        uint64_t pid;
        struct stat st;
        if (!text_u64(d->name, strlen(d->name), &pid) || fstatat(proc.fd, d->name, &st, 0) != 0) continue;
        struct one *o = one_of(st.st_uid);
        if (o != NULL) ok = add_process(o, (pid_t)pid);
    }
    ok = ok && !proc.failed;
    dir_close(&proc);
    return ok;
}

static void find_files(void) {
    struct dir shared;
    if (!dir_open_path(&shared, "/dev/shm")) return;
    for (const struct dir_entry *d; (d = dir_next(&shared)) != NULL;) {
        struct stat st;
        struct one *o = fstatat(shared.fd, d->name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? one_of(st.st_uid) : NULL;
        if (o != NULL) o->files += (uint64_t)st.st_blocks * 512;
    }
    dir_close(&shared);
}

/* Where the agent has no right to trace, the process's own user has. */
static struct memory exactly(const struct one *o, pid_t pid) {
    struct memory m;
    if (memory_exact(pid, &m) || !tenant_become(o->tenant)) return m;
    memory_exact(pid, &m);
    tenant_come_back(o->tenant);
    return m;
}

static bool victim_lingers(const struct tenant_watched *w) {
    return w->killed != 0 && look.begun - w->killed_at <= KILL_GRACE && memory_resident(w->killed) > 0;
}

static void choose(struct one *o, pid_t pid) {
    struct stat st;
    char path[32];
    text_format(path, sizeof path, "/proc/%d", (int)pid);
    o->victim = (int)syscall(SYS_pidfd_open, pid, 0);
    o->victim_pid = pid;
    if (o->victim < 0 || (stat(path, &st) == 0 && st.st_uid == o->tenant->uid)) return;
    close(o->victim);
    o->victim = -1;
}

static void count_exactly(struct one *o) {
    struct tenant_watched *w = &o->watched;
    uint64_t own = 0, shared = 0, biggest_size = 0;
    pid_t biggest = 0;
    for (size_t i = o->first; i != NOBODY; i = look.found[i].next) {
        struct memory m = exactly(o, look.found[i].pid);
        own += m.own;
        shared += m.shared;
        if (biggest != 0 && m.own + m.shared < biggest_size) continue;
        biggest = look.found[i].pid;
        biggest_size = m.own + m.shared;
    }
    /* Of the shared memory that is mapped and that of the files each may contain the other. */
    w->memory = own + (shared > o->files ? shared : o->files);
    w->last_exact = look.begun;
    w->fine_below = w->memory <= o->limit ? o->most + o->files + (o->limit - w->memory) : 0;
    if (o->limit == 0 || w->memory <= o->limit || testing_off("host-memory-watch")) return;
    o->sweep = o->files > biggest_size;
    if (!o->sweep && biggest != 0 && !victim_lingers(w)) choose(o, biggest);
}

static void judge_one(struct one *o) {
    struct tenant_watched *w = &o->watched;
    uint64_t most = o->most + o->files;
    /* The sum is the most it can be. Counting exactly walks all page tables, so it is done only when the
     * answer may be new. */
    bool due = most > w->fine_below || look.begun - w->last_exact >= SLOW_LOOK;
    if (o->asked || (o->limit != 0 && most > o->limit && due))
        count_exactly(o);
    else if (most < w->memory)
        w->memory = most;
    if (o->sweep) tenant_home_sweep(o->tenant->uid);
}

static void count(struct job *j) {
    (void)j;
    look.begun = clock_ms();
    look.found_count = 0;
    look.blind = !find_processes();
    find_files();
    for (size_t i = 0; i < look.count && !look.blind; i++)
        judge_one(&look.ones[i]);
    look.ended = clock_ms();
}

/* ---- On the loop */

/* The sandboxes as they are now, held until the look is over. */
static bool gather(void) {
    size_t buckets = 64, n = tenants_count();
    while (buckets < n)
        buckets *= 2;
    look.ones = calloc(n + 1, sizeof *look.ones);
    look.buckets = malloc(buckets * sizeof *look.buckets);
    look.mask = buckets - 1;
    look.count = 0;
    if (look.ones == NULL || look.buckets == NULL) return false;
    memset(look.buckets, 0xff, buckets * sizeof *look.buckets);
    for (struct tenant *t = tenants_first(); t != NULL && look.count < n; t = t->next) {
        if (t->state != TENANT_LIVE) continue;
        struct one *o = &look.ones[look.count];
        *o = (struct one){.tenant = t, .watched = t->watched, .limit = t->limits.memory, .victim = -1};
        o->watched.processes = 0;
        o->first = NOBODY;
        o->next = look.buckets[t->uid & look.mask];
        look.buckets[t->uid & look.mask] = look.count++;
        t->held++;
        for (const struct watch_waiter *w = served; w != NULL && !o->asked; w = w->next)
            o->asked = w->about == NULL || w->about == t;
    }
    return true;
}

static void let_go(void) {
    for (size_t i = 0; i < look.count; i++)
        look.ones[i].tenant->held--;
    free(look.ones);
    free(look.buckets);
    look.ones = NULL;
    look.buckets = NULL;
    look.count = 0;
}

/* Between clone and exec a command shares the agent's memory, and seems to have it too. */
static bool may_be_the_agents(const struct one *o) {
    uint64_t count = 0;
    for (const struct process *p = o->tenant->sandbox.processes.newest; p != NULL; p = p->older) {
        if (p->started_ms < look.begun - STARTED) break;
        count++;
    }
    return o->watched.memory <= o->limit + count * memory_resident(getpid());
}

static void put_first_in_line(pid_t pid) {
    char path[40];
    text_format(path, sizeof path, "/proc/%d/oom_score_adj", (int)pid);
    if (!testing_off("oom-order")) whole_put(path, FIRST_IN_LINE);
}

/* Not one that shares the agent's memory: the kernel would set the agent's too. */
static void raise_order(const struct one *o) {
    if (o->tenant->state != TENANT_LIVE || o->tenant->stopping) return;
    for (size_t i = o->first; i != NOBODY; i = look.found[i].next)
        if (look.found[i].raise && !process_table_starting(look.found[i].pid))
            put_first_in_line(look.found[i].pid);
}

static void end_victim(struct one *o) {
    struct tenant_watched *w = &o->watched;
    int64_t now = loop_now();
    if (may_be_the_agents(o)) return;
    if (now - w->killed_at > 2 * KILL_GRACE || w->killed == 0) w->first_kill = now;
    w->killed = o->victim_pid;
    w->killed_at = now;
    int64_t row = w->memory > o->limit + o->limit / 4 ? KILL_SOON : KILL_ROW;
    if (now - w->first_kill >= row && !testing_off("host-memory-row")) {
        tenant_kill_commands(o->tenant, "memory");
    } else {
        process_limit_hit(o->victim_pid, "memory");
        syscall(SYS_pidfd_send_signal, o->victim, SIGKILL, NULL, 0);
    }
}

static void answer(void) {
    while (served != NULL) {
        struct watch_waiter *w = served;
        struct watch_usage sum = {.known = !look.blind};
        for (size_t i = 0; i < look.count; i++) {
            const struct one *o = &look.ones[i];
            if (w->about != NULL && w->about != o->tenant) continue;
            sum.memory += o->watched.memory;
            sum.processes += o->watched.processes;
            sum.disk += o->tenant->walked.used;
        }
        watch_unask(w);
        w->done(w, &sum);
    }
}

static void begin(void);

static void on_timer(struct timer *t) {
    (void)t;
    begin();
}

static void judge(struct job *j) {
    (void)j;
    under_way = false;
    for (size_t i = 0; i < look.count && !look.blind; i++) {
        struct one *o = &look.ones[i];
        if (o->victim >= 0) {
            end_victim(o);
            close(o->victim);
        }
        raise_order(o);
        o->tenant->watched = o->watched;
    }
    answer();
    bool any = look.found_count > 0 || look.blind || process_running() > 0;
    let_go();
    if (waiting != NULL) {
        begin();
    } else if (any) {
        int64_t pause = (look.ended - look.begun) * 20;
        if (pause < INTERVAL_WATCH) pause = INTERVAL_WATCH;
        loop_timer(&timer, loop_now() + pause, on_timer);
    }
}

static void begin(void) {
    loop_untimer(&timer);
    under_way = true;
    served = waiting;
    waiting = NULL;
    if (served != NULL) served->link = &served;
    if (!gather()) {
        look.blind = true;
        look.begun = look.ended = loop_now();
        judge(&look.job);
        return;
    }
    look.job.work = count;
    look.job.done = judge;
    workers_submit(&look.job);
}

void tenant_watch_command(pid_t pid) {
    put_first_in_line(pid);
    if (under_way || timer.slot != 0) return;
    if (!loop_timer(&timer, loop_now() + INTERVAL_WATCH, on_timer)) begin();
}

void tenant_watch_ask(struct tenant *t, struct watch_waiter *w) {
    w->about = t;
    w->next = waiting;
    w->link = &waiting;
    if (waiting != NULL) waiting->link = &w->next;
    waiting = w;
    if (!under_way) begin();
}
