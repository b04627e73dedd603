/* The agent's figures, over raw sockets. */
#include "bench.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define FRAMES "application/x-hfsandbox-frames"
#define TRUE   "{\"cmd\":[\"/bin/true\"]}"
#define MIB    (1024.0 * 1024.0)

static void exec_p50(const struct agent *a) {
    double base[ROUNDS], figure[ROUNDS];
    int count = 400 / bench.scale;
    double *took = calloc((size_t)count, sizeof *took);
    if (took == NULL) bench_fail("out of memory");
    struct raw *r = raw_open(a);
    for (int round = 0; round < ROUNDS; round++) {
        base[round] = baseline_spawn_p50(count);
        for (int i = 0; i < count; i++) {
            double start = bench_now();
            raw_send(r, "POST", "/v1/exec", FRAMES, TRUE, strlen(TRUE));
            if (raw_finish(r, NULL, NULL) != 200) bench_fail("an exec was refused");
            took[i] = bench_now() - start;
        }
        figure[round] = bench_median(took, (size_t)count);
    }
    raw_close(r);
    free(took);
    bench_row(&(struct bench_row){"exec /bin/true p50, raw socket", "ms", bench_median(figure, ROUNDS) * 1e3,
                                  "posix_spawn + wait p50", bench_median(base, ROUNDS) * 1e3, GOAL_AT_MOST,
                                  1.25, bench_ratio(figure, base)});
}

static void run_in_flight(const struct agent *a, int count, double *per_second, double *cpu) {
    struct raw *r[16];
    struct pollfd p[16];
    int started = 0, finished = 0;
    for (int i = 0; i < 16; i++) {
        r[i] = raw_open(a);
        p[i] = (struct pollfd){.fd = r[i]->fd, .events = POLLIN};
    }
    double start = bench_now(), before = bench_cpu_self() + bench_cpu_of(a->pid);
    for (; started < 16; started++)
        raw_send(r[started], "POST", "/v1/exec", FRAMES, TRUE, strlen(TRUE));
    while (finished < count) {
        if (poll(p, 16, 10000) <= 0) bench_fail("no exec ended within 10 s");
        for (int i = 0; i < 16; i++) {
            if ((p[i].revents & POLLIN) == 0 || !raw_ready(r[i])) continue;
            finished++;
            if (started >= count) continue;
            started++;
            raw_send(r[i], "POST", "/v1/exec", FRAMES, TRUE, strlen(TRUE));
        }
    }
    *per_second = count / (bench_now() - start);
    *cpu = (bench_cpu_self() + bench_cpu_of(a->pid) - before) / count;
    for (int i = 0; i < 16; i++)
        raw_close(r[i]);
}

static void in_flight(const struct agent *a) {
    double base[ROUNDS], base_cpu[ROUNDS], figure[ROUNDS], beyond[ROUNDS];
    int count = 2000 / bench.scale;
    for (int round = 0; round < ROUNDS; round++) {
        double cpu;
        baseline_spawn_loop(count, &base[round], &base_cpu[round]);
        run_in_flight(a, count, &figure[round], &cpu);
        beyond[round] = cpu - base_cpu[round];
    }
    bench_row(&(struct bench_row){"exec rate, 16 in flight, raw sockets", "1/s", bench_median(figure, ROUNDS),
                                  "two-thread spawn loop", bench_median(base, ROUNDS), GOAL_AT_LEAST, 0.7,
                                  bench_ratio(figure, base)});
    bench_row(&(struct bench_row){"processor time beyond the spawn, raw sockets", "ms",
                                  bench_median(beyond, ROUNDS) * 1e3, "the spawn itself",
                                  bench_median(base_cpu, ROUNDS) * 1e3, GOAL_NONE, 0, 0});
}

static void output_rate(const struct agent *a) {
    double base[ROUNDS], figure[ROUNDS];
    size_t bytes = ((size_t)1 << 30) / (size_t)bench.scale, got;
    char body[8192];
    int len = snprintf(body, sizeof body, "{\"cmd\":[\"%s\",\"%zu\"]}", bench.blocks, bytes);
    struct raw *r = raw_open(a);
    for (int round = 0; round < ROUNDS; round++) {
        base[round] = baseline_pipe(bytes);
        double start = bench_now();
        raw_send(r, "POST", "/v1/exec", FRAMES, body, (size_t)len);
        if (raw_finish(r, &got, NULL) != 200 || got < bytes)
            bench_fail("%zu of %zu bytes of output came", got, bytes);
        figure[round] = (double)bytes / (bench_now() - start);
    }
    raw_close(r);
    bench_row(&(struct bench_row){"1 GiB of stdout, frames, raw socket (TCP)", "MiB/s",
                                  bench_median(figure, ROUNDS) / MIB, "pipe in 64 KiB blocks",
                                  bench_median(base, ROUNDS) / MIB, GOAL_AT_LEAST, 0.6,
                                  bench_ratio(figure, base)});
}

/* What a command writes goes through a pipe and then through a socket. A pipe's rate depends on where the
   scheduler puts its two ends, so both places are shown. */
static void transports(void) {
    static const struct {
        const char *name;
        double (*rate)(size_t bytes);
    } transports[] = {{"for comparison: a pipe, both ends on one core", baseline_pipe_one_core},
                      {"for comparison: a pipe, an end on each of two cores", baseline_pipe_two_cores},
                      {"for comparison: loopback TCP", baseline_loopback},
                      {"for comparison: a Unix socket pair", baseline_socket_pair}};
    size_t bytes = ((size_t)1 << 30) / (size_t)bench.scale;
    for (size_t i = 0; i < sizeof transports / sizeof *transports; i++) {
        double rate[ROUNDS];
        for (int round = 0; round < ROUNDS; round++)
            rate[round] = transports[i].rate(bytes);
        bench_row(&(struct bench_row){transports[i].name, "MiB/s", bench_median(rate, ROUNDS) / MIB, NULL, 0,
                                      GOAL_NONE, 0, 0});
    }
}

static void files(const struct agent *a) {
    double base[ROUNDS], up[ROUNDS], down[ROUNDS], to_file[ROUNDS];
    size_t bytes = ((size_t)256 << 20) / (size_t)bench.scale, got;
    char write_target[256], read_target[256], path[128];
    char *data = calloc(1, bytes);
    if (data == NULL) bench_fail("out of memory");
    snprintf(path, sizeof path, "%s/file", bench.dir);
    snprintf(write_target, sizeof write_target, "/v1/files/write?path=%s", path);
    snprintf(read_target, sizeof read_target, "/v1/files/read?path=%s", path);
    struct raw *r = raw_open(a);
    for (int round = 0; round < ROUNDS; round++) {
        base[round] = baseline_loopback(bytes);
        to_file[round] = baseline_loopback_to_file(bytes);
        bench_warm(2 * bytes);
        double start = bench_now();
        raw_send(r, "PUT", write_target, NULL, data, bytes);
        if (raw_finish(r, NULL, NULL) != 200) bench_fail("a file was refused");
        up[round] = (double)bytes / (bench_now() - start);
        start = bench_now();
        raw_send(r, "GET", read_target, NULL, NULL, 0);
        if (raw_finish(r, &got, NULL) != 200 || got != bytes)
            bench_fail("%zu of %zu bytes of the file came", got, bytes);
        down[round] = (double)bytes / (bench_now() - start);
        unlink(path);
    }
    raw_close(r);
    free(data);
    double up_ratio = bench_ratio(up, base), down_ratio = bench_ratio(down, base);
    double loopback = bench_median(base, ROUNDS) / MIB;
    bench_row(&(struct bench_row){"256 MiB file up, raw socket", "MiB/s", bench_median(up, ROUNDS) / MIB,
                                  "loopback TCP in 256 KiB blocks", loopback, GOAL_AT_LEAST, 0.6, up_ratio});
    bench_row(&(struct bench_row){"256 MiB file down, raw socket", "MiB/s", bench_median(down, ROUNDS) / MIB,
                                  "loopback TCP in 256 KiB blocks", loopback, GOAL_AT_LEAST, 0.6,
                                  down_ratio});
    bench_row(&(struct bench_row){"for comparison: the file up without HTTP or agent", "MiB/s",
                                  bench_median(to_file, ROUNDS) / MIB, "loopback TCP in 256 KiB blocks",
                                  loopback, GOAL_NONE, 0, bench_ratio(to_file, base)});
}

static void start_time(void) {
    enum { STARTS = 25 };
    double took[STARTS];
    for (int i = 0; i < STARTS; i++) {
        struct agent a;
        agent_start(&a);
        took[i] = a.answered;
        agent_stop(&a);
    }
    double base = baseline_spawn_p50(100);
    bench_row(&(struct bench_row){"agent: exec to first answer p50", "ms", bench_median(took, STARTS) * 1e3,
                                  "posix_spawn + wait p50", base * 1e3, GOAL_AT_MOST, 5, 0});
}

/* The string that is sent with a job, as the build wrote it for the library. */
static void sent_size(const char *name, const char *kind, enum bench_goal goal) {
    char path[4300];
    struct utsname machine;
    struct stat sent;
    if (uname(&machine) != 0) bench_fail("the machine has no name");
    snprintf(path, sizeof path, "%s/%s-%s.b64", bench.payload, kind, machine.machine);
    if (stat(path, &sent) != 0) bench_fail("the build left no %s", path);
    bench_row(&(struct bench_row){name, "bytes", (double)sent.st_size, NULL, 0, goal, 100000, 0});
}

static void encoded_size(void) {
    char command[4200];
    long size = 0;
    sent_size("agent of jobs: " BENCH_COMPRESSOR ", base64", "job", GOAL_AT_MOST);
    sent_size("for comparison: the agent of hosts, the same way", "host", GOAL_NONE);
    snprintf(command, sizeof command, "gzip -9nc '%s' | base64 -w0 | wc -c", bench.agent);
    FILE *f = popen(command, "re");
    if (f == NULL || fscanf(f, "%ld", &size) != 1 || size == 0) bench_fail("cannot compress %s", bench.agent);
    pclose(f);
    bench_row(&(struct bench_row){"for comparison: the whole agent, gzip -9, base64", "bytes", (double)size,
                                  NULL, 0, GOAL_NONE, 0, 0});
}

static void idle_memory(void) {
    enum { CONNECTIONS = 5000 };
    struct agent a;
    struct raw *r = NULL;
    static int fds[CONNECTIONS];
    agent_start(&a);
    long idle = bench_resident_kib(a.pid);
    bench_row(
        &(struct bench_row){"agent: resident, idle", "KiB", (double)idle, NULL, 0, GOAL_AT_MOST, 512, 0});
    for (int i = 0; i < CONNECTIONS; i++) {
        r = raw_open(&a);
        raw_send(r, "GET", "/health", NULL, NULL, 0);
        if (raw_finish(r, NULL, NULL) != 200) bench_fail("connection %d was refused", i);
        fds[i] = dup(r->fd);
        if (fds[i] < 0) bench_fail("5,000 connections need more descriptors: raise ulimit -n");
        raw_close(r);
    }
    long busy = bench_resident_kib(a.pid);
    bench_row(&(struct bench_row){"agent: memory per idle connection, 5,000 of them", "KiB",
                                  (double)(busy - idle) / CONNECTIONS, NULL, 0, GOAL_AT_MOST, 2, 0});
    for (int i = 0; i < CONNECTIONS; i++)
        close(fds[i]);
    agent_stop(&a);
}

/* Readers that take nothing while their commands print 1 GiB each: the peak beyond the 8 MiB that a sandbox's
 * output may hold. */
static void slow_reader(void) {
    enum { READERS = 8 };
    struct agent a;
    struct raw *r[READERS];
    char body[8192];
    int len = snprintf(body, sizeof body, "{\"cmd\":[\"%s\",\"1073741824\"]}", bench.blocks);
    agent_start(&a);
    long idle = bench_resident_kib(a.pid);
    bench_reset_peak(a.pid);
    for (int i = 0; i < READERS; i++) {
        r[i] = raw_open(&a);
        raw_send(r[i], "POST", "/v1/exec", i % 2 == 0 ? FRAMES : NULL, body, (size_t)len);
    }
    double settled = bench_now();
    long last = 0;
    while (bench_now() - settled < 1) { /* until nothing has moved for a second */
        long now = bench_peak_kib(a.pid);
        if (now != last) settled = bench_now();
        last = now;
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    bench_row(&(struct bench_row){"agent: peak beyond stated buffers, 8 stuck readers", "MiB",
                                  (double)(last - idle) / 1024 - 8, NULL, 0, GOAL_AT_MOST, 16, 0});
    for (int i = 0; i < READERS; i++)
        raw_close(r[i]);
    agent_stop(&a);
}

void figures_agent(void) {
    struct agent a;
    if (bench_wants("size")) encoded_size();
    if (bench_wants("start")) start_time();
    if (bench_wants("memory")) {
        idle_memory();
        slow_reader();
    }
    agent_start(&a);
    if (bench_wants("exec")) exec_p50(&a);
    if (bench_wants("flight")) in_flight(&a);
    if (bench_wants("output")) {
        output_rate(&a);
        transports();
    }
    if (bench_wants("files")) files(&a);
    agent_stop(&a);
}
