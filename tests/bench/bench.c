/* bench [--agent PATH] [--agent-only | --client-only] [--only PART] [--scale N]: prints one table of figures,
   each beside its baseline of the same run. Exit status 1 when a goal is missed. Parts: size start memory
   exec flight output files lifetime. */
#include "bench.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct bench_options bench = {.scale = 1};
static int missed;

void bench_fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("bench: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(2);
}

bool bench_wants(const char *part) {
    return bench.only == NULL || strcmp(bench.only, part) == 0;
}

double bench_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(const double *values, size_t count) {
    double *sorted = malloc(count * sizeof *sorted);
    if (sorted == NULL) bench_fail("out of memory");
    memcpy(sorted, values, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare);
    double median = count % 2 == 1 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
    free(sorted);
    return median;
}

double bench_ratio(const double figure[ROUNDS], const double base[ROUNDS]) {
    double ratios[ROUNDS];
    for (int i = 0; i < ROUNDS; i++)
        ratios[i] = figure[i] / base[i];
    return bench_median(ratios, ROUNDS);
}

static double seconds(struct timeval t) {
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

double bench_cpu_self(void) {
    struct rusage self, children;
    getrusage(RUSAGE_SELF, &self);
    getrusage(RUSAGE_CHILDREN, &children);
    return seconds(self.ru_utime) + seconds(self.ru_stime) + seconds(children.ru_utime) +
           seconds(children.ru_stime);
}

static void read_proc(pid_t pid, const char *file, char *out, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);
    if (n <= 0) bench_fail("cannot read %s", path);
    out[n] = '\0';
    close(fd);
}

double bench_cpu_of(pid_t pid) {
    char text[1024];
    unsigned long user, system;
    long child_user, child_system;
    read_proc(pid, "stat", text, sizeof text);
    const char *rest = strrchr(text, ')');
    if (rest == NULL || sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %ld %ld", &user,
                               &system, &child_user, &child_system) != 4)
        bench_fail("cannot read the times of %d", (int)pid);
    return ((double)(user + system) + (double)(child_user + child_system)) / (double)sysconf(_SC_CLK_TCK);
}

static long status_kib(pid_t pid, const char *name) {
    char text[8192];
    read_proc(pid, "status", text, sizeof text);
    const char *line = strstr(text, name);
    return line == NULL ? 0 : strtol(line + strlen(name), NULL, 10);
}

long bench_resident_kib(pid_t pid) {
    return status_kib(pid, "VmRSS:");
}

long bench_peak_kib(pid_t pid) {
    return status_kib(pid, "VmHWM:");
}

void bench_reset_peak(pid_t pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/clear_refs", (int)pid);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "5", 1) != 1) bench_fail("cannot reset the peak memory of %d", (int)pid);
    close(fd);
}

void bench_warm(size_t bytes) {
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) bench_fail("out of memory");
    madvise(memory, bytes, MADV_HUGEPAGE);
    for (size_t at = 0; at < bytes; at += 4096)
        ((volatile char *)memory)[at] = 1;
    munmap(memory, bytes);
}

/* Three digits that matter. */
static const char *number(char *out, size_t size, double value) {
    double size_of = fabs(value);
    snprintf(out, size,
             size_of >= 100  ? "%.0f"
             : size_of >= 10 ? "%.1f"
             : size_of >= 1  ? "%.2f"
                             : "%.3f",
             value);
    return out;
}

void bench_row(const struct bench_row *row) {
    static bool headed;
    char value[32], base[32], ratio[32] = "", goal[80] = "", limit[32];
    double measured = row->ratio > 0 ? row->ratio : row->value;
    bool reached =
        row->kind == GOAL_NONE || (row->kind == GOAL_AT_MOST ? measured <= row->goal : measured >= row->goal);
    if (!headed) {
        printf("%-52s %10s %-7s %-29s %10s %7s  %s\n", "figure", "value", "unit", "baseline", "value",
               "ratio", "goal");
        headed = true;
    }
    if (row->baseline != NULL && row->baseline_value > 0)
        number(ratio, sizeof ratio, row->ratio > 0 ? row->ratio : row->value / row->baseline_value);
    if (row->kind != GOAL_NONE)
        snprintf(goal, sizeof goal, "%s %s %s%s", row->ratio > 0 ? "ratio" : "value",
                 row->kind == GOAL_AT_MOST ? "<=" : ">=", number(limit, sizeof limit, row->goal),
                 reached ? "" : "  MISSED");
    printf("%-52s %10s %-7s %-29s %10s %7s  %s\n", row->name, number(value, sizeof value, row->value),
           row->unit, row->baseline == NULL ? "-" : row->baseline,
           row->baseline == NULL ? "-" : number(base, sizeof base, row->baseline_value), ratio, goal);
    fflush(stdout);
    missed += !reached;
}

int bench_missed(void) {
    return missed;
}

int main(int argc, char **argv) {
    static char self[4096], memory[] = "/dev/shm/sbx-bench-XXXXXX", dir[] = "/tmp/sbx-bench-XXXXXX";
    bool agent_only = false, client_only = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--agent-only") == 0)
            agent_only = true;
        else if (strcmp(argv[i], "--client-only") == 0)
            client_only = true;
        else if (strcmp(argv[i], "--agent") == 0 && i + 1 < argc)
            bench.agent = argv[++i];
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            bench.only = argv[++i];
        else if (strcmp(argv[i], "--scale") == 0 && i + 1 < argc)
            bench.scale = atoi(argv[++i]);
        else
            bench_fail(
                "usage: bench [--agent PATH] [--agent-only | --client-only] [--only PART] [--scale N]");
    }
    if (bench.scale < 1) bench_fail("--scale takes a number from 1 on");
    static char agent[4200], payload[4200], blocks[4200];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) bench_fail("/proc is not mounted");
    *strrchr(self, '/') = '\0';
    snprintf(agent, sizeof agent, "%s/hfsandbox-agent", self);
    snprintf(payload, sizeof payload, "%s/../payload", self);
    bench.payload = payload;
    snprintf(blocks, sizeof blocks, "%s/bench-blocks", self);
    bench.blocks = blocks;
    if (bench.agent == NULL) bench.agent = agent;
    /* In memory where that can be had, like what the baselines move. */
    bench.dir = mkdtemp(memory);
    if (bench.dir == NULL) bench.dir = mkdtemp(dir);
    if (bench.dir == NULL) bench_fail("no scratch directory in /dev/shm or /tmp");
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < 16384) {
        files.rlim_cur = files.rlim_max < 16384 ? files.rlim_max : 16384;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (!client_only) figures_agent();
    if (!agent_only) figures_client();
    rmdir(bench.dir);
    if (missed > 0) printf("%d goals missed\n", missed);
    return missed > 0;
}
