/* The benchmark: what the parts share. A figure is measured in rounds, its baseline in the same rounds right
   before it, so that whatever else the machine does falls on both; the table shows the medians of the
   figures, of their baselines, and of the ratios. */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ROUNDS 5

struct bench_options {
    const char *agent;   /* hfsandbox-agent */
    const char *payload; /* the directory of the agents that travel with jobs */
    const char *blocks;  /* the command that writes blocks of 64 KiB */
    const char *dir;     /* a scratch directory */
    const char *only;    /* the part that is measured alone; NULL = all */
    int scale;           /* divides the amount of work: 1 = full */
};
extern struct bench_options bench;

/* Time and statistics */
double bench_now(void); /* seconds, monotonic */
double bench_median(const double *values, size_t count);
/* The median of the rounds' own ratios: a machine whose speed drifts drifts in both. */
double bench_ratio(const double figure[ROUNDS], const double base[ROUNDS]);
bool bench_wants(const char *part); /* of --only */
void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Processor time in seconds: of this process with its reaped children, of another one with its. */
double bench_cpu_self(void);
double bench_cpu_of(pid_t pid);
long bench_resident_kib(pid_t pid);
long bench_peak_kib(pid_t pid);
void bench_reset_peak(pid_t pid);

/* Uses that much memory and gives it back. A virtual machine may have to get a page that was not in use
   lately from its host, at a small part of memory's speed; after this call the next ones to ask for that much
   find it at hand. */
void bench_warm(size_t bytes);

/* The table */
enum bench_goal { GOAL_NONE, GOAL_AT_MOST, GOAL_AT_LEAST };
struct bench_row {
    const char *name;
    const char *unit;
    double value;
    const char *baseline; /* NULL = none */
    double baseline_value;
    enum bench_goal kind;
    double goal;  /* of `ratio` when there is one, else of value */
    double ratio; /* bench_ratio; 0 = none, value / baseline_value is printed for comparison */
};
void bench_row(const struct bench_row *row);
int bench_missed(void); /* rows that missed their goal */

/* Baselines, one measurement each */
double baseline_spawn_p50(int count); /* seconds */
void baseline_spawn_loop(int count, double *per_second,
                         double *cpu); /* two threads; cpu: seconds per spawn */
double baseline_pipe(size_t bytes);    /* bytes per second */
double baseline_pipe_one_core(size_t bytes);
double baseline_pipe_two_cores(size_t bytes);
double baseline_loopback(size_t bytes);
double baseline_loopback_to_file(size_t bytes); /* one process receives and writes a file in bench.dir */
double baseline_socket_pair(size_t bytes);
double baseline_bwrap_p50(int count); /* 0 = bwrap is missing or may not run */
pid_t baseline_spawn(char *const *argv);
void baseline_write_blocks(int fd, size_t bytes, size_t block);

/* An agent of its own and the raw connections to it */
struct agent {
    pid_t pid;
    int port;
    double answered; /* seconds from its exec to its first answer */
};
void agent_start(struct agent *a);
void agent_stop(struct agent *a);

struct raw {
    int fd;
    size_t len, at;
    unsigned char data[256 * 1024];
};
struct raw *raw_open(const struct agent *a);
void raw_close(struct raw *r);
void raw_send(struct raw *r, const char *method, const char *target, const char *type, const void *body,
              size_t len);
/* Reads a whole response; the body's bytes are counted and thrown away. Returns the status. first (may be
   NULL): when its first body byte was there. */
int raw_finish(struct raw *r, size_t *body, double *first);
bool raw_ready(
    struct raw *r); /* whether the response of an exec is complete; reads what is there without waiting */

void figures_agent(void);
void figures_client(void);

#endif
