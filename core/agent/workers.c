#include "agent/workers.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agent/lock.h"
#include "agent/loop.h"
#include "util/testing.h"

#define WORKERS      4
#define WORKER_STACK (256 * 1024)

struct job_queue {
    struct job *first;
    struct job **end;
    size_t count;
};

static struct {
    struct lock lock; /* guards everything up to `finished` */
    struct news more;
    struct job_queue waiting;
    struct job_queue finished;
    size_t idle; /* workers that wait for a job, or were woken for one and have not taken it yet */

    int threads; /* the rest belongs to the loop */
    int wake;
    struct watch watch;
} workers = {.wake = -1};

static void queue_push(struct job_queue *q, struct job *j) {
    j->next = NULL;
    *q->end = j;
    q->end = &j->next;
    q->count++;
}

static struct job *queue_take(struct job_queue *q) {
    struct job *first = q->first;
    q->first = NULL;
    q->end = &q->first;
    q->count = 0;
    return first;
}

static struct job *queue_pop(struct job_queue *q) {
    struct job *j = q->first;
    q->first = j->next;
    if (q->first == NULL) q->end = &q->first;
    q->count--;
    return j;
}

/* Called with the lock held, as it returns; whom it wakes does not have to wait for the lock. One wake-up
   serves all jobs that finish until the loop looks. */
static void finish(struct job *j) {
    bool wake = workers.finished.first == NULL;
    queue_push(&workers.finished, j);
    if (!wake) return;
    lock_drop(&workers.lock);
    uint64_t one = 1;
    while (write(workers.wake, &one, sizeof one) < 0 && errno == EINTR)
        ;
    lock_take(&workers.lock);
}

static void *worker(void *unused) {
    (void)unused;
    lock_take(&workers.lock);
    for (;;) {
        while (workers.waiting.first == NULL) {
            workers.idle++;
            lock_wait(&workers.lock, &workers.more);
            workers.idle--;
        }
        struct job *j = queue_pop(&workers.waiting);
        lock_drop(&workers.lock);
        j->work(j);
        lock_take(&workers.lock);
        finish(j);
    }
    return NULL;
}

/* Every signal stays with the loop's thread, which reads them from a signalfd. */
static bool start_thread(void) {
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) return false;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, WORKER_STACK);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    bool started = pthread_create(&thread, &attributes, worker, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return started;
}

static void run_finished(struct watch *w, uint32_t events) {
    (void)events;
    uint64_t count;
    while (read(w->fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
    lock_take(&workers.lock);
    struct job *j = queue_take(&workers.finished);
    lock_drop(&workers.lock);
    while (j != NULL) {
        struct job *next = j->next; /* done may free j or submit it again */
        j->done(j);
        j = next;
    }
}

bool workers_init(void) {
    workers.waiting.end = &workers.waiting.first;
    workers.finished.end = &workers.finished.first;
    workers.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (workers.wake < 0) return false;
    if (loop_watch(&workers.watch, workers.wake, EPOLLIN, run_finished)) return true;
    close(workers.wake);
    workers.wake = -1;
    return false;
}

void workers_submit(struct job *j) {
    lock_take(&workers.lock);
    queue_push(&workers.waiting, j);
    bool busy = workers.waiting.count > workers.idle;
    lock_drop(&workers.lock);
    if (!busy) lock_tell(&workers.more);
    if (busy && workers.threads < WORKERS && !testing_off("workers") && start_thread()) workers.threads++;
    if (workers.threads > 0) return;

    /* No thread can be had at all (a limit on processes, no memory). The loop does the work itself: slow, but
       nothing waits for ever. Its completion still comes in a later turn, as callers expect. */
    lock_take(&workers.lock);
    while (workers.waiting.first != NULL) {
        struct job *own = queue_pop(&workers.waiting);
        lock_drop(&workers.lock);
        own->work(own);
        lock_take(&workers.lock);
        finish(own);
    }
    lock_drop(&workers.lock);
}
