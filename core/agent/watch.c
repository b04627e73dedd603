#include "agent/watch.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "agent/confine.h"
#include "agent/descend.h"
#include "agent/limits.h"
#include "agent/loop.h"
#include "agent/process.h"
#include "util/clock.h"
#include "util/dir.h"
#include "util/scope.h"
#include "util/sort.h"
#include "util/testing.h"
#include "util/text.h"
#include "util/whole.h"
#include "wire/limits.h"

#define SLOW_LOOK                                                                                            \
    1000 /* milliseconds between two exact looks that found nothing wrong, and two at memfds                 \
          */
#define KILL_GRACE                                                                                           \
    2000 /* how long a killed process may take to give its memory back before the next one goes */
#define MEMFDS_MOST 8192

struct usage {
    uint64_t private, shared;  /* mapped */
    uint64_t memfds, segments; /* whether mapped or not */
    pid_t biggest;
    uint64_t biggest_size;
};

static uint64_t limit, page;
static struct timer timer;
static int64_t last_exact, last_held;
static uint64_t held;       /* memfds and segments, at last_held */
static uint64_t fine_below; /* an upper bound below this cannot be over the limit, as last_exact found */
static pid_t victim;
static int64_t victim_at;

static bool read_proc(pid_t pid, const char *file, char *text, size_t room) {
    char path[48];
    text_format(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    return whole_read(AT_FDCWD, path, text, room);
}

/* The number in column `index` of a line of columns; 0 when there is none. */
static uint64_t number_at(const char *line, int index) {
    for (line += strspn(line, " "); index > 0; index--) {
        line += strcspn(line, " ");
        line += strspn(line, " ");
    }
    return text_number(line);
}

static uint64_t resident(pid_t pid) {
    char text[128];
    return read_proc(pid, "statm", text, sizeof text) ? number_at(text, 1) * page : 0;
}

static uint64_t field(const char *text, const char *name) {
    const char *at = text_after(text, name);
    return at != NULL ? text_number(at) * 1024 : 0;
}

/* A process that made itself unreadable counts with everything it maps. */
static void add_exact(struct usage *u, pid_t pid) {
    char text[2048];
    uint64_t own, shared = 0;
    if (read_proc(pid, "smaps_rollup", text, sizeof text)) {
        own = field(text, "\nPss_Anon:") + field(text, "\nSwapPss:");
        shared = field(text, "\nPss_Shmem:");
    } else {
        own = resident(pid);
    }
    u->private += own;
    u->shared += shared;
    if (own + shared < u->biggest_size) return;
    u->biggest = pid;
    u->biggest_size = own + shared;
}

static int by_number(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Each memfd once, by inode: [inode, bytes]. */
static size_t add_memfds(pid_t pid, uint64_t (*found)[2], size_t count) {
    char path[48], to[16];
    text_format(path, sizeof path, "/proc/%d/fd", (int)pid);
    struct dir dir;
    if (!dir_open_path(&dir, path)) return count;
    for (const struct dir_entry *d; count < MEMFDS_MOST && (d = dir_next(&dir)) != NULL;) {
        struct stat st;
        ssize_t n = readlinkat(dir.fd, d->name, to, sizeof to);
        if (n < 7 || strncmp(to, "/memfd:", 7) != 0 || fstatat(dir.fd, d->name, &st, 0) != 0) continue;
        found[count][0] = (uint64_t)st.st_ino;
        found[count++][1] = (uint64_t)st.st_blocks * 512;
    }
    dir_close(&dir);
    return count;
}

static uint64_t sum_memfds(const struct descend_entry *list, size_t count) {
    uint64_t(*found)[2] = malloc(MEMFDS_MOST * sizeof *found);
    uint64_t sum = 0, last = 0;
    size_t n = 0;
    if (found == NULL) return 0;
    for (size_t i = 0; i < count; i++)
        n = add_memfds(list[i].pid, found, n);
    sort_items(found, n, sizeof *found, by_number);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || found[i][0] != last) sum += found[i][1];
        last = found[i][0];
    }
    free(found);
    return sum;
}

/* key shmid perms size cpid lpid nattch uid gid cuid cgid atime dtime ctime rss swap */
enum { SHM_ID = 1, SHM_ATTACHED = 6, SHM_RSS = 14 };

/* Segments that nobody has attached belong to nobody who could be ended: `drop` removes them. Only in an ipc
   namespace of its own, where pid 1 is the agent. */
static uint64_t sum_segments(bool drop) {
    cleanup_fd int fd = getpid() == 1 ? open("/proc/sysvipc/shm", O_RDONLY | O_CLOEXEC) : -1;
    char text[4096], *end;
    uint64_t sum = 0;
    size_t have = 0;
    for (ssize_t n; fd >= 0 && (n = read(fd, text + have, sizeof text - 1 - have)) > 0;) {
        have += (size_t)n;
        text[have] = '\0';
        char *line = text;
        for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
            *end = '\0';
            int id = (int)number_at(line, SHM_ID);
            if (drop && number_at(line, SHM_ATTACHED) == 0 && shmctl(id, IPC_RMID, NULL) == 0) continue;
            sum += number_at(line, SHM_RSS);
        }
        have -= (size_t)(line - text);
        memmove(text, line, have);
    }
    return sum;
}

static void add_all_exact(struct usage *u, const struct descend_entry *list, size_t count) {
    for (size_t i = 0; i < count; i++)
        add_exact(u, list[i].pid);
    u->memfds = sum_memfds(list, count);
    u->segments = sum_segments(false);
}

/* Of the shared memory that is mapped and that which descriptors and segments hold, each may contain the
 * other. */
static uint64_t total(const struct usage *u) {
    uint64_t other = u->memfds + u->segments;
    return u->private + (u->shared > other ? u->shared : other);
}

static bool victim_lingers(int64_t now) {
    return victim != 0 && now - victim_at <= KILL_GRACE && resident(victim) > 0;
}

/* Counts exactly and, over the limit, ends the command of the biggest process. */
static void enforce(const struct descend_entry *list, size_t count, uint64_t most) {
    struct usage u = {.private = 0};
    if (victim_lingers(loop_now())) return;
    add_all_exact(&u, list, count);
    if (total(&u) > limit) u.segments = sum_segments(true);
    last_exact = loop_now();
    fine_below = total(&u) <= limit ? most + (limit - total(&u)) : 0;
    if (total(&u) <= limit || u.biggest == 0) return;
    victim = u.biggest;
    victim_at = last_exact;
    process_limit_hit(victim, "memory");
    kill(victim, SIGKILL);
}

static void look(struct timer *t) {
    struct descend_entry *list;
    size_t count;
    int64_t now = clock_ms();
    uint64_t mapped = 0;
    if (!descend_list(getpid(), &list, &count)) return;
    for (size_t i = 0; i < count; i++)
        mapped += resident(list[i].pid);
    if (now - last_held >= SLOW_LOOK) {
        last_held = now;
        held = sum_memfds(list, count) + sum_segments(false);
    }
    /* The sum is the most it can be. Counting exactly walks all page tables, so it is done only when the
     * answer may be new. */
    uint64_t most = mapped + held;
    if (most > limit && (most > fine_below || now - last_exact >= SLOW_LOOK)) enforce(list, count, most);
    free(list);
    /* On a host with very many processes, where they are all in sight, looking takes its time: never more
     * than a 20th of all. */
    int64_t end = clock_ms(), pause = (end - now) * 20;
    if (pause < INTERVAL_WATCH) pause = INTERVAL_WATCH;
    if (count > 0 || process_running() > 0) loop_timer(t, end + pause, look);
}

void watch_start(uint64_t memory_limit) {
    limit = testing_off("memory-watch") ? 0 : memory_limit;
    page = getauxval(AT_PAGESZ);
}

void watch_wake(void) {
    if (limit != 0 && timer.slot == 0) loop_timer(&timer, loop_now() + INTERVAL_WATCH, look);
}

/* What its writable files take: in a root of its own all of them lie on one file system. */
static uint64_t disk_usage(void) {
    struct statfs fs;
    if (limits_get()->disk == 0 || confine_home() == NULL || statfs(confine_home(), &fs) != 0) return 0;
    return (uint64_t)(fs.f_blocks - fs.f_bfree) * (uint64_t)fs.f_bsize;
}

bool watch_report(struct buf *out) {
    struct usage u = {.private = 0};
    struct descend_entry *list = NULL;
    size_t count = 0;
    page = getauxval(AT_PAGESZ);
    if (descend_list(getpid(), &list, &count)) add_all_exact(&u, list, count);
    free(list);
    return buf_printf(out, "{\"memory\":%llu,\"processes\":%zu,\"disk\":%llu}", (unsigned long long)total(&u),
                      count, (unsigned long long)disk_usage());
}
