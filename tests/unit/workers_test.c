// links: agent/workers.c agent/loop.c agent/lock.c
#include "check.h"

#include <pthread.h>
#include <unistd.h>

#include "agent/loop.h"
#include "agent/workers.h"

#define JOBS 2000

struct counted {
    struct job job;
    int worked, completed;
    pthread_t worker;
};

static struct counted jobs[JOBS];
static struct job waiting[4];
static int left, phase;
static pthread_t loop_thread;
static pthread_barrier_t together;

static void next_phase(void);

static void work(struct job *j) {
    struct counted *c = (struct counted *)j;
    c->worked++;
    c->worker = pthread_self();
}

static void done(struct job *j) {
    struct counted *c = (struct counted *)j;
    c->completed++;
    /* Each comes back once from its own completion. */
    if (c->completed == 1) {
        workers_submit(j);
    } else if (--left == 0) {
        next_phase();
    }
}

static void submit_all(void) {
    memset(jobs, 0, sizeof jobs);
    left = JOBS;
    int early = 0;
    for (int i = 0; i < JOBS; i++) {
        jobs[i].job.work = work;
        jobs[i].job.done = done;
        workers_submit(&jobs[i].job);
        early += jobs[i].completed;
    }
    CHECK_EQ(early, 0); /* never before the submitter has returned to the loop */
}

static void check_all(bool on_loop) {
    int wrong = 0;
    for (int i = 0; i < JOBS; i++)
        wrong += jobs[i].worked != 2 || on_loop != (pthread_equal(jobs[i].worker, loop_thread) != 0);
    CHECK_EQ(wrong, 0);
}

static void meet(struct job *j) {
    (void)j;
    pthread_barrier_wait(&together);
}

static void met(struct job *j) {
    (void)j;
    if (--left == 0) next_phase();
}

static void next_phase(void) {
    switch (phase++) {
    case 0: /* Without any thread to be had, the loop does the work itself. */
        setenv("SBX_TEST_OFF", "workers", 1);
        submit_all();
        break;
    case 1:
        check_all(true);
        unsetenv("SBX_TEST_OFF");
        submit_all();
        break;
    case 2: /* Four jobs that wait for each other end only when they run at the same time. */
        check_all(false);
        pthread_barrier_init(&together, NULL, 4);
        left = 4;
        for (int i = 0; i < 4; i++) {
            waiting[i] = (struct job){.work = meet, .done = met};
            workers_submit(&waiting[i]);
        }
        break;
    default:
        pthread_barrier_destroy(&together);
        loop_stop(0);
    }
}

static void jobs_run_and_complete(void) {
    loop_thread = pthread_self();
    alarm(100);
    CHECK(loop_init() && workers_init());
    next_phase();
    CHECK_EQ(loop_run(), 0);
    CHECK_EQ(phase, 4);
}

CHECK_MAIN(jobs_run_and_complete)
