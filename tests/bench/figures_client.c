/* The client's figures, through the public API and in a confined local sandbox: what a caller of the library
 * gets. */
#include "bench.h"

#include <hfsandbox/hfsandbox.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1024.0 * 1024.0)

static sbx_error err;

static void need(sbx_status status, const char *what) {
    if (status != SBX_OK) bench_fail("%s: %s: %s", what, sbx_status_name(status), err.message);
}

static const sbx_command true_command = {SBX_COMMAND_INIT, .argv = (const char *const[]){"/bin/true", NULL}};

static void run_p50(sbx_sandbox *sandbox) {
    double base[ROUNDS], figure[ROUNDS];
    int count = 400 / bench.scale;
    double *took = calloc((size_t)count, sizeof *took);
    if (took == NULL) bench_fail("out of memory");
    for (int round = 0; round < ROUNDS; round++) {
        base[round] = baseline_spawn_p50(count);
        for (int i = 0; i < count; i++) {
            sbx_result *result;
            double start = bench_now();
            need(sbx_run(&result, sandbox, &true_command, NULL, &err), "run");
            took[i] = bench_now() - start;
            if (sbx_result_exit_code(result) != 0) bench_fail("/bin/true failed in the sandbox");
            sbx_result_free(result);
        }
        figure[round] = bench_median(took, (size_t)count);
    }
    free(took);
    bench_row(&(struct bench_row){"run /bin/true p50, API, confined sandbox", "ms",
                                  bench_median(figure, ROUNDS) * 1e3, "posix_spawn + wait p50",
                                  bench_median(base, ROUNDS) * 1e3, GOAL_AT_MOST, 1.35,
                                  bench_ratio(figure, base)});
}

/* Processor time of the keeper with everything that it has reaped, and of the serving process below it. */
static double cpu_of_sandbox(pid_t keeper) {
    char path[64], line[32] = "";
    double cpu = bench_cpu_of(keeper);
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)keeper, (int)keeper);
    FILE *f = fopen(path, "re");
    if (f != NULL && fgets(line, sizeof line, f) != NULL && atoi(line) > 0) cpu += bench_cpu_of(atoi(line));
    if (f != NULL) fclose(f);
    return cpu;
}

static pid_t keeper_of(sbx_client *client, const char *id) {
    sbx_sandbox_list *list;
    pid_t pid = 0;
    need(sbx_sandbox_list_all(&list, client, NULL, NULL, &err), "list");
    for (size_t i = 0; i < sbx_sandbox_list_count(list); i++)
        if (strcmp(sbx_sandbox_list_get(list, i)->id, id) == 0)
            pid = (pid_t)sbx_sandbox_list_get(list, i)->pid;
    sbx_sandbox_list_free(list);
    if (pid == 0) bench_fail("sandbox %s is not listed with a pid", id);
    return pid;
}

static void run_in_flight(sbx_sandbox *sandbox, sbx_queue *queue, int count) {
    sbx_call call = {SBX_CALL_INIT, .queue = queue};
    int started = 0, finished = 0;
    for (; started < 16; started++)
        if (sbx_run(NULL, sandbox, &true_command, &call, &err) != SBX_PENDING)
            bench_fail("run: %s", err.message);
    while (finished < count) {
        sbx_completion done = {SBX_COMPLETION_INIT};
        need(sbx_queue_next(&done, queue, 10000, &err), "queue");
        if (done.status != SBX_OK) bench_fail("run: %s", done.error.message);
        sbx_result_free(done.result);
        finished++;
        if (started >= count) continue;
        started++;
        if (sbx_run(NULL, sandbox, &true_command, &call, &err) != SBX_PENDING)
            bench_fail("run: %s", err.message);
    }
}

static void in_flight(sbx_client *client, sbx_sandbox *sandbox) {
    double base[ROUNDS], base_cpu[ROUNDS], figure[ROUNDS], beyond[ROUNDS];
    int count = 2000 / bench.scale;
    pid_t keeper = keeper_of(client, sbx_sandbox_id(sandbox));
    sbx_queue *queue;
    need(sbx_queue_new(&queue, client, &err), "queue");
    for (int round = 0; round < ROUNDS; round++) {
        baseline_spawn_loop(count, &base[round], &base_cpu[round]);
        double start = bench_now(), before = bench_cpu_self() + cpu_of_sandbox(keeper);
        run_in_flight(sandbox, queue, count);
        figure[round] = count / (bench_now() - start);
        beyond[round] = (bench_cpu_self() + cpu_of_sandbox(keeper) - before) / count - base_cpu[round];
    }
    sbx_queue_free(queue);
    bench_row(&(struct bench_row){"run rate, 16 in flight, API, confined sandbox", "1/s",
                                  bench_median(figure, ROUNDS), "two-thread spawn loop",
                                  bench_median(base, ROUNDS), GOAL_AT_LEAST, 0.7, bench_ratio(figure, base)});
    bench_row(&(struct bench_row){"agent + client processor time beyond the spawn", "ms",
                                  bench_median(beyond, ROUNDS) * 1e3, "the spawn itself",
                                  bench_median(base_cpu, ROUNDS) * 1e3, GOAL_AT_MOST, 0.15, 0});
}

static void output_rate(sbx_sandbox *sandbox) {
    double base[ROUNDS], figure[ROUNDS];
    size_t bytes = ((size_t)1 << 30) / (size_t)bench.scale;
    char count[32];
    snprintf(count, sizeof count, "%zu", bytes);
    sbx_command command = {SBX_COMMAND_INIT, .argv = (const char *const[]){"/opt/blocks", count, NULL}};
    for (int round = 0; round < ROUNDS; round++) {
        sbx_process *process;
        sbx_event event = {SBX_EVENT_INIT};
        size_t got = 0;
        base[round] = baseline_pipe(bytes);
        double start = bench_now();
        need(sbx_process_start(&process, sandbox, &command, NULL, &err), "start");
        do {
            need(sbx_process_next(&event, process, NULL, &err), "next");
            if (event.type == SBX_EVENT_STDOUT) got += event.len;
        } while (event.type != SBX_EVENT_EXIT);
        figure[round] = (double)bytes / (bench_now() - start);
        if (got != bytes) bench_fail("%zu of %zu bytes of output came", got, bytes);
        sbx_process_free(process);
    }
    bench_row(&(struct bench_row){"1 GiB of stdout, API, confined sandbox", "MiB/s",
                                  bench_median(figure, ROUNDS) / MIB, "pipe in 64 KiB blocks",
                                  bench_median(base, ROUNDS) / MIB, GOAL_AT_LEAST, 0.6,
                                  bench_ratio(figure, base)});
}

static void files(sbx_sandbox *sandbox) {
    double base[ROUNDS], up[ROUNDS], down[ROUNDS];
    size_t bytes = ((size_t)256 << 20) / (size_t)bench.scale;
    char *data = calloc(1, bytes);
    if (data == NULL) bench_fail("out of memory");
    for (int round = 0; round < ROUNDS; round++) {
        sbx_bytes *back;
        base[round] = baseline_loopback(bytes);
        bench_warm(4 * bytes);
        double start = bench_now();
        need(sbx_file_write(sandbox, "/tmp/bench", data, bytes, NULL, NULL, &err), "write");
        up[round] = (double)bytes / (bench_now() - start);
        start = bench_now();
        need(sbx_file_read(&back, sandbox, "/tmp/bench", 0, 0, NULL, &err), "read");
        down[round] = (double)bytes / (bench_now() - start);
        if (sbx_bytes_size(back) != bytes)
            bench_fail("the file came back as %zu bytes", sbx_bytes_size(back));
        sbx_bytes_free(back);
        need(sbx_file_delete(sandbox, "/tmp/bench", 0, NULL, &err), "delete");
    }
    free(data);
    double up_ratio = bench_ratio(up, base), down_ratio = bench_ratio(down, base);
    double loopback = bench_median(base, ROUNDS) / MIB;
    bench_row(&(struct bench_row){"256 MiB file up, API", "MiB/s", bench_median(up, ROUNDS) / MIB,
                                  "loopback TCP in 256 KiB blocks", loopback, GOAL_AT_LEAST, 0.6, up_ratio});
    bench_row(&(struct bench_row){"256 MiB file down, API", "MiB/s", bench_median(down, ROUNDS) / MIB,
                                  "loopback TCP in 256 KiB blocks", loopback, GOAL_AT_LEAST, 0.6,
                                  down_ratio});
}

static void lifetimes(sbx_client *client) {
    int count = 60 / (bench.scale > 6 ? 6 : bench.scale);
    double first[60], killed[60], whole = 0, base = baseline_bwrap_p50(count);
    sbx_command echo = {SBX_COMMAND_INIT, .argv = (const char *const[]){"/bin/echo", "x", NULL}};
    for (int i = 0; i < count; i++) {
        sbx_sandbox *sandbox;
        sbx_process *process;
        sbx_event event = {SBX_EVENT_INIT};
        double start = bench_now();
        need(sbx_sandbox_create(&sandbox, client, NULL, NULL, &err), "create");
        need(sbx_process_start(&process, sandbox, &echo, NULL, &err), "start");
        need(sbx_process_next(&event, process, NULL, &err), "next");
        if (event.type != SBX_EVENT_STDOUT) bench_fail("the first event is no output");
        first[i] = bench_now() - start;
        sbx_process_free(process);
        double kill = bench_now();
        need(sbx_sandbox_kill(sandbox, NULL, &err), "kill");
        killed[i] = bench_now() - kill;
        sbx_sandbox_free(sandbox);
        whole += bench_now() - start;
    }
    const char *name = base > 0 ? "bwrap running true p50" : "bwrap: not to be had";
    bench_row(&(struct bench_row){"local create to first output byte p50", "ms",
                                  bench_median(first, (size_t)count) * 1e3, name, base * 1e3, GOAL_AT_MOST, 8,
                                  0});
    bench_row(&(struct bench_row){"kill confirmed p50", "ms", bench_median(killed, (size_t)count) * 1e3, name,
                                  base * 1e3, GOAL_NONE, 0, 0});
    bench_row(&(struct bench_row){"create, run, kill: one after the other", "1/s", count / whole,
                                  "bwrap: 1 / p50", base > 0 ? 1 / base : 0, GOAL_NONE, 0, 0});
}

/* Creations that overlap, as a scheduler of many sandboxes makes them. */
static void creates_per_second(sbx_client *client) {
    enum { AT_ONCE = 8 };
    int count = 100 / (bench.scale > 6 ? 6 : bench.scale), started = 0, finished = 0;
    sbx_queue *queue;
    need(sbx_queue_new(&queue, client, &err), "queue");
    sbx_call call = {SBX_CALL_INIT, .queue = queue};
    double start = bench_now();
    while (finished < count) {
        for (; started < count && started - finished < AT_ONCE; started++)
            if (sbx_sandbox_create(NULL, client, NULL, &call, &err) != SBX_PENDING)
                bench_fail("create: %s", err.message);
        sbx_completion done = {SBX_COMPLETION_INIT};
        need(sbx_queue_next(&done, queue, 30000, &err), "queue");
        if (done.status != SBX_OK) bench_fail("create: %s", done.error.message);
        finished++;
        sbx_sandbox_free(done.sandbox);
    }
    bench_row(&(struct bench_row){"creates, 8 at once", "1/s", count / (bench_now() - start), NULL, 0,
                                  GOAL_NONE, 0, 0});
    sbx_queue_free(queue);
}

void figures_client(void) {
    sbx_client *client;
    sbx_sandbox *sandbox;
    sbx_client_options options = {SBX_CLIENT_OPTIONS_INIT, .provider = "local", .agent_path = bench.agent};
    sbx_bind program = {.source = bench.blocks, .target = "/opt/blocks"};
    sbx_sandbox_options with = {SBX_SANDBOX_OPTIONS_INIT, .binds = &program, .bind_count = 1,
                                .limit_disk = (uint64_t)1 << 30};
    need(sbx_client_new(&client, &options, &err), "client");
    if (bench_wants("lifetime")) {
        lifetimes(client);
        creates_per_second(client);
    }
    need(sbx_sandbox_create(&sandbox, client, &with, NULL, &err), "create");
    if (bench_wants("exec")) run_p50(sandbox);
    if (bench_wants("flight")) in_flight(client, sandbox);
    if (bench_wants("output")) output_rate(sandbox);
    if (bench_wants("files")) files(sandbox);
    sbx_sandbox_free(sandbox);
    sbx_client_free(client);
}
