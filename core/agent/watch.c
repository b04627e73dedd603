#include "agent/watch.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/confine.h"
#include "agent/descend.h"
#include "agent/limits.h"
#include "agent/loop.h"
#include "agent/memory.h"
#include "agent/process.h"
#include "agent/workers.h"
#include "util/clock.h"
#include "util/scope.h"
#include "util/testing.h"
#include "wire/limits.h"

/* Milliseconds */
#define SLOW_LOOK 1000 /* between two exact looks that found nothing wrong, and two at System V IPC */
#define KILL_GRACE                                                                                           \
    2000                /* a killed process may take this to give its memory back before the next one goes   \
                         */
#define BLIND_MOST 2000 /* without a look: what cannot be watched cannot be let go on */

struct usage {
    uint64_t private, shared; /* mapped */
    uint64_t segments;        /* whether mapped or not */
    uint64_t queues;          /* messages and semaphores, in the kernel's own memory */
    const struct descend_entry *biggest;
    uint64_t biggest_size;
};

static uint64_t limit;

/* The look: at most one at a time. A worker makes it, because it can take long, and the loop judges what it
   found. What follows belongs to the worker while it is under way. */
static struct {
    struct job job;
    bool asked; /* somebody waits for exact numbers */
    int64_t begun, ended;
    bool blind; /* it could not look */
    size_t count;
    uint64_t sum; /* as counted exactly, when it was */
    int victim;   /* pidfd of who has to go, or -1 */
    pid_t victim_pid;

    int64_t last_exact, last_held;
    uint64_t held;       /* by System V IPC, at last_held */
    uint64_t fine_below; /* an upper bound below this cannot be over the limit, as last_exact found */
    pid_t killed;
    int64_t killed_at;
} look = {.victim = -1};

static bool under_way;
static struct timer timer;
static int64_t last_seen; /* when a look last succeeded */
static struct watch_waiter *waiting, *served;

static void add_exact(struct usage *u, const struct descend_entry *entry) {
    struct memory m;
    memory_exact(entry->pid, &m);
    u->private += m.own;
    u->shared += m.shared;
    if (m.own + m.shared < u->biggest_size) return;
    u->biggest = entry;
    u->biggest_size = m.own + m.shared;
}

/* key shmid perms size cpid lpid nattch uid gid cuid cgid atime dtime ctime rss swap
   key semid perms nsems uid gid ...
   key msqid perms cbytes qnum ... */
enum { IPC_ID = 1, SHM_ATTACHED = 6, SHM_RSS = 14, SEM_COUNT = 3, MSG_BYTES = 3, MSG_COUNT = 4 };
enum ipc { SEGMENTS, SEMAPHORES, MESSAGES };

#define EACH                                                                                                 \
    64 /* bytes that the kernel keeps at least for a semaphore, and for a message besides its own            \
        */

static uint64_t size_of(enum ipc kind, const char *line) {
    if (kind == SEGMENTS) return memory_column(line, SHM_RSS);
    if (kind == SEMAPHORES) return memory_column(line, SEM_COUNT) * EACH;
    return memory_column(line, MSG_BYTES) + memory_column(line, MSG_COUNT) * EACH;
}

static bool drop(enum ipc kind, const char *line) {
    int id = (int)memory_column(line, IPC_ID);
    if (kind == SEGMENTS) return memory_column(line, SHM_ATTACHED) == 0 && shmctl(id, IPC_RMID, NULL) == 0;
    return (kind == SEMAPHORES ? semctl(id, 0, IPC_RMID) : msgctl(id, IPC_RMID, NULL)) == 0;
}

/* What nobody has attached belongs to nobody who could be ended: `dropping` removes it. Only in an ipc
   namespace of its own, where pid 1 is the agent. */
static uint64_t sum_ipc(enum ipc kind, bool dropping) {
    static const char *const files[] = {"/proc/sysvipc/shm", "/proc/sysvipc/sem", "/proc/sysvipc/msg"};
    cleanup_fd int fd = getpid() == 1 ? open(files[kind], O_RDONLY | O_CLOEXEC) : -1;
    char text[4096], *end;
    uint64_t sum = 0;
    size_t have = 0;
    for (ssize_t n; fd >= 0 && (n = read(fd, text + have, sizeof text - 1 - have)) > 0;) {
        have += (size_t)n;
        text[have] = '\0';
        char *line = text;
        for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
            *end = '\0';
            if (!dropping || !drop(kind, line)) sum += size_of(kind, line);
        }
        have -= (size_t)(line - text);
        memmove(text, line, have);
    }
    return sum;
}

static void add_ipc(struct usage *u) {
    u->segments = sum_ipc(SEGMENTS, false);
    u->queues = sum_ipc(SEMAPHORES, false) + sum_ipc(MESSAGES, false);
}

/* Of the shared memory that is mapped and that of the segments each may contain the other. */
static uint64_t total(const struct usage *u) {
    return u->private + (u->shared > u->segments ? u->shared : u->segments) + u->queues;
}

static bool victim_lingers(int64_t now) {
    return look.killed != 0 && now - look.killed_at <= KILL_GRACE && memory_resident(look.killed) > 0;
}

/* Counts exactly and, over the limit, chooses the biggest process. */
static void count_exactly(const struct descend_entry *list, size_t count, uint64_t most) {
    struct usage u = {.private = 0};
    for (size_t i = 0; i < count; i++)
        add_exact(&u, &list[i]);
    add_ipc(&u);
    if (limit != 0 && total(&u) > limit) {
        u.segments = sum_ipc(SEGMENTS, true);
        if (total(&u) > limit && u.queues > u.biggest_size)
            u.queues = sum_ipc(SEMAPHORES, true) + sum_ipc(MESSAGES, true);
    }
    look.sum = total(&u);
    if (limit == 0) return;
    look.last_exact = look.begun;
    look.fine_below = look.sum <= limit ? most + (limit - look.sum) : 0;
    if (look.sum <= limit || u.biggest == NULL || victim_lingers(look.begun)) return;
    look.victim = descend_open(u.biggest);
    look.victim_pid = u.biggest->pid;
}

static void count(struct job *j) {
    (void)j;
    struct descend_entry *list;
    uint64_t most = 0;
    look.begun = clock_ms();
    if (testing_off("look-speed")) poll(NULL, 0, 3000);
    look.blind = !descend_list(getpid(), &list, &look.count);
    if (look.blind) {
        look.ended = clock_ms();
        return;
    }
    for (size_t i = 0; i < look.count; i++)
        most += memory_resident(list[i].pid);
    if (look.begun - look.last_held >= SLOW_LOOK) {
        struct usage u;
        add_ipc(&u);
        look.last_held = look.begun;
        look.held = u.segments + u.queues;
    }
    most += look.held;
    /* The sum is the most it can be. Counting exactly walks all page tables, so it is done only when the
     * answer may be new. */
    bool due = most > look.fine_below || look.begun - look.last_exact >= SLOW_LOOK;
    if (look.asked || (limit != 0 && most > limit && due)) count_exactly(list, look.count, most);
    free(list);
    look.ended = clock_ms();
}

/* What its writable files take: in a root of its own all of them lie on one file system. */
static uint64_t disk_usage(void) {
    struct statfs fs;
    if (limits_get()->disk == 0 || confine_home() == NULL || statfs(confine_home(), &fs) != 0) return 0;
    return (uint64_t)(fs.f_blocks - fs.f_bfree) * (uint64_t)fs.f_bsize;
}

static void answer(void) {
    const struct watch_usage found = {
        .known = !look.blind, .memory = look.sum, .processes = look.count, .disk = disk_usage()};
    while (served != NULL) {
        struct watch_waiter *w = served;
        watch_unask(w);
        w->done(w, &found);
    }
}

static void end_victim(void) {
    look.killed = look.victim_pid;
    look.killed_at = loop_now();
    process_limit_hit(look.victim_pid, "memory");
    descend_signal(look.victim, SIGKILL);
    close(look.victim);
    look.victim = -1;
}

static void begin(void);

static void on_timer(struct timer *t) {
    (void)t;
    begin();
}

static void judge(struct job *j) {
    (void)j;
    int64_t now = loop_now();
    under_way = false;
    if (!look.blind) last_seen = now;
    if (look.blind && limit != 0 && now - last_seen >= BLIND_MOST && !testing_off("watch-blind")) {
        agent_complain("the sandbox ends: its memory cannot be watched, because /proc cannot be read");
        exit(1);
    }
    if (look.victim >= 0) end_victim();
    answer();
    if (under_way) return;
    if (waiting != NULL) {
        begin();
        return;
    }
    if (limit == 0 || (look.count == 0 && !look.blind && process_running() == 0)) return;
    /* On a host with very many processes, where they are all in sight, looking takes its time: never more
     * than a 20th of all. */
    int64_t pause = (look.ended - look.begun) * 20;
    if (pause < INTERVAL_WATCH) pause = INTERVAL_WATCH;
    if (!loop_timer(&timer, now + pause, on_timer)) begin();
}

static void begin(void) {
    loop_untimer(&timer);
    under_way = true;
    served = waiting;
    waiting = NULL;
    if (served != NULL) served->link = &served;
    look.asked = served != NULL;
    look.job.work = count;
    look.job.done = judge;
    workers_submit(&look.job);
}

void watch_start(uint64_t memory_limit) {
    limit = testing_off("memory-watch") ? 0 : memory_limit;
}

void watch_wake(void) {
    if (limit == 0 || under_way || timer.slot != 0) return;
    last_seen = loop_now();
    if (!loop_timer(&timer, loop_now() + INTERVAL_WATCH, on_timer)) begin();
}

void watch_ask(struct watch_waiter *w) {
    w->next = waiting;
    w->link = &waiting;
    if (waiting != NULL) waiting->link = &w->next;
    waiting = w;
    if (!under_way) begin();
}

void watch_unask(struct watch_waiter *w) {
    if (w->link == NULL) return;
    *w->link = w->next;
    if (w->next != NULL) w->next->link = w->link;
    w->link = NULL;
}
