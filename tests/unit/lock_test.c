// links: agent/lock.c
#include "agent/lock.h"

#include "check.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>

#define THREADS 4
#define TURNS   20000

static struct lock lock;
static struct news news;
static long counted; /* guarded by the lock, like the rest */
static int left, waiting, woken;
static bool go;

static void *count(void *unused) {
    (void)unused;
    for (int i = 0; i < TURNS; i++) {
        errno = EDOM;
        lock_take(&lock);
        counted++;
        lock_drop(&lock);
        CHECK_EQ(errno, EDOM);
    }
    return NULL;
}

static void *consume(void *unused) {
    (void)unused;
    lock_take(&lock);
    waiting++;
    while (!go)
        lock_wait(&lock, &news);
    for (;;) {
        while (left == 0)
            lock_wait(&lock, &news);
        if (left < 0) break;
        left--;
        woken++;
    }
    lock_drop(&lock);
    return NULL;
}

static void one_at_a_time(void) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, count, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(counted, (long)THREADS * TURNS);
}

static void news_arrive(void) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, consume, NULL);
    for (bool all = false; !all;) {
        lock_take(&lock);
        all = waiting == THREADS;
        go = all;
        for (int i = 0; all && i < THREADS; i++)
            lock_tell(&news);
        lock_drop(&lock);
    }
    for (int i = 0; i < TURNS; i++) {
        lock_take(&lock);
        left++;
        lock_tell(&news);
        lock_drop(&lock);
    }
    for (bool all = false; !all;) {
        lock_take(&lock);
        all = left == 0;
        if (all) left = -1;
        for (int i = 0; all && i < THREADS; i++)
            lock_tell(&news);
        lock_drop(&lock);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(woken, TURNS);
}

CHECK_MAIN(one_at_a_time, news_arrive)
