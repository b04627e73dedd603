/* The baselines: what the machine does without us. */
#include "bench.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

pid_t baseline_spawn(char *const *argv) {
    pid_t pid;
    if (posix_spawn(&pid, argv[0], NULL, NULL, argv, environ) != 0) bench_fail("cannot start %s", argv[0]);
    return pid;
}

static void spawn_true(void) {
    int status;
    pid_t pid = baseline_spawn((char *[]){"/bin/true", NULL});
    if (waitpid(pid, &status, 0) != pid || status != 0) bench_fail("/bin/true failed");
}

double baseline_spawn_p50(int count) {
    double *took = calloc((size_t)count, sizeof *took);
    if (took == NULL) bench_fail("out of memory");
    for (int i = 0; i < count; i++) {
        double start = bench_now();
        spawn_true();
        took[i] = bench_now() - start;
    }
    double p50 = bench_median(took, (size_t)count);
    free(took);
    return p50;
}

static void *spawn_many(void *count) {
    for (int i = 0; i < *(int *)count; i++)
        spawn_true();
    return NULL;
}

void baseline_spawn_loop(int count, double *per_second, double *cpu) {
    pthread_t other;
    int half = count / 2;
    double start = bench_now(), before = bench_cpu_self();
    if (pthread_create(&other, NULL, spawn_many, &half) != 0) bench_fail("no thread");
    spawn_many(&half);
    pthread_join(other, NULL);
    *per_second = 2 * half / (bench_now() - start);
    *cpu = (bench_cpu_self() - before) / (2 * half);
}

void baseline_write_blocks(int fd, size_t bytes, size_t block) {
    char *data = calloc(1, block);
    if (data == NULL) bench_fail("out of memory");
    while (bytes > 0) {
        ssize_t n = write(fd, data, bytes < block ? bytes : block);
        if (n <= 0) break;
        bytes -= (size_t)n;
    }
    free(data);
}

/* into: a file that the bytes are written to, or -1 */
static double read_all_into(int fd, size_t bytes, size_t block, int into) {
    char *data = malloc(block);
    if (data == NULL) bench_fail("out of memory");
    double start = bench_now();
    size_t have = 0;
    ssize_t n;
    while (have < bytes && (n = read(fd, data, block)) > 0) {
        if (into >= 0 && write(into, data, (size_t)n) != n) bench_fail("cannot write a file");
        have += (size_t)n;
    }
    double took = bench_now() - start;
    free(data);
    if (have != bytes) bench_fail("%zu of %zu bytes came", have, bytes);
    return (double)bytes / took;
}

static double read_all(int fd, size_t bytes, size_t block) {
    return read_all_into(fd, bytes, block, -1);
}

static void run_on(int processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)processor, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static double pipe_between(size_t bytes, int writer, int reader) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) bench_fail("no pipe");
    pid_t pid = fork();
    if (pid < 0) bench_fail("no process");
    if (pid == 0) {
        close(ends[0]);
        if (writer >= 0) run_on(writer);
        baseline_write_blocks(ends[1], bytes, 64 * 1024);
        _exit(0);
    }
    close(ends[1]);
    cpu_set_t before;
    sched_getaffinity(0, sizeof before, &before);
    if (reader >= 0) run_on(reader);
    double rate = read_all(ends[0], bytes, 64 * 1024);
    sched_setaffinity(0, sizeof before, &before);
    close(ends[0]);
    waitpid(pid, NULL, 0);
    return rate;
}

double baseline_pipe(size_t bytes) {
    return pipe_between(bytes, -1, -1);
}

double baseline_pipe_one_core(size_t bytes) {
    return pipe_between(bytes, 0, 0);
}

double baseline_pipe_two_cores(size_t bytes) {
    return pipe_between(bytes, 0, 1);
}

static double loopback_into(size_t bytes, int into) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, len) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &len) != 0)
        bench_fail("no listening socket");
    pid_t pid = fork();
    if (pid < 0) bench_fail("no process");
    if (pid == 0) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&address, len) == 0) baseline_write_blocks(fd, bytes, 256 * 1024);
        _exit(0);
    }
    int fd = accept(listener, NULL, NULL);
    double rate = read_all_into(fd, bytes, 256 * 1024, into);
    close(fd);
    close(listener);
    waitpid(pid, NULL, 0);
    return rate;
}

double baseline_loopback(size_t bytes) {
    return loopback_into(bytes, -1);
}

double baseline_loopback_to_file(size_t bytes) {
    char path[128];
    snprintf(path, sizeof path, "%s/baseline", bench.dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) bench_fail("cannot make %s", path);
    unlink(path);
    bench_warm(2 * bytes);
    double rate = loopback_into(bytes, fd);
    close(fd);
    return rate;
}

double baseline_socket_pair(size_t bytes) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) bench_fail("no socket pair");
    pid_t pid = fork();
    if (pid < 0) bench_fail("no process");
    if (pid == 0) {
        close(ends[0]);
        baseline_write_blocks(ends[1], bytes, 256 * 1024);
        _exit(0);
    }
    close(ends[1]);
    double rate = read_all(ends[0], bytes, 256 * 1024);
    close(ends[0]);
    waitpid(pid, NULL, 0);
    return rate;
}

double baseline_bwrap_p50(int count) {
    char *argv[] = {"/usr/bin/bwrap", "--unshare-all", "--ro-bind", "/",    "/",         "--proc", "/proc",
                    "--dev",          "/dev",          "--tmpfs",   "/tmp", "/bin/true", NULL};
    double *took = calloc((size_t)count, sizeof *took);
    if (took == NULL) bench_fail("out of memory");
    bool ran = access(argv[0], X_OK) == 0;
    for (int i = 0; ran && i < count; i++) {
        int status;
        double start = bench_now();
        pid_t pid = baseline_spawn(argv);
        ran = waitpid(pid, &status, 0) == pid && status == 0;
        took[i] = bench_now() - start;
    }
    double p50 = ran ? bench_median(took, (size_t)count) : 0;
    free(took);
    return p50;
}
