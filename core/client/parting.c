#include "client/parting.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "client/client.h"
#include "client/log.h"
#include "util/clock.h"
#include "util/testing.h"

#define HOOKS_MAX 2

static const int64_t LONGEST[PARTING_KINDS] = {2000, 5000, 300};

/* How many are under way in this process, with its id above: after fork the child has none. */
static _Atomic uint64_t under_way[PARTING_KINDS];
static void (*_Atomic hooks[HOOKS_MAX])(void);
static void (*_Atomic last_hooks[HOOKS_MAX])(void);

static uint64_t own(void) {
    return (uint64_t)(uint32_t)getpid() << 32;
}

static void count(enum parting_kind kind, int change) {
    uint64_t none = own(), before = atomic_load(&under_way[kind]), after;
    do {
        bool ours = before >> 32 == none >> 32;
        after = (ours ? before : none) + (uint64_t)(int64_t)change;
    } while (!atomic_compare_exchange_weak(&under_way[kind], &before, after));
}

static bool any(enum parting_kind kind) {
    uint64_t now = atomic_load(&under_way[kind]);
    return now > own() && now >> 32 == own() >> 32;
}

/* At the program's end the clients' threads still run. */
static void part_at_exit(void) {
    log_silence();
    io_hurry();
    for (size_t i = 0; i < HOOKS_MAX; i++) {
        void (*hook)(void) = atomic_load(&hooks[i]);
        if (hook != NULL) hook();
    }
    int64_t begin = clock_ms();
    for (enum parting_kind kind = 0; kind < PARTING_KINDS; kind++) {
        while (any(kind) && clock_ms() - begin < LONGEST[kind])
            nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    }
    io_park();
    for (size_t i = 0; i < HOOKS_MAX; i++) {
        void (*hook)(void) = atomic_load(&last_hooks[i]);
        if (hook != NULL) hook();
    }
}

static void register_exit(void) {
    if (!testing_off("parting")) atexit(part_at_exit);
}

static void prepare_exit(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_exit);
}

static void add(void (*_Atomic list[HOOKS_MAX])(void), void (*hook)(void)) {
    for (size_t i = 0; i < HOOKS_MAX; i++) {
        void (*none)(void) = NULL;
        if (atomic_compare_exchange_strong(&list[i], &none, hook) || none == hook) return;
    }
}

void parting_at_exit(void (*hook)(void), void (*last)(void)) {
    prepare_exit();
    add(hooks, hook);
    add(last_hooks, last);
}

bool parting_begin(struct sbx_client *client, enum parting_kind kind) {
    if (!io_background(&client->io, 1)) return false;
    prepare_exit();
    count(kind, 1);
    client->parting[kind]++;
    return true;
}

void parting_let_be(struct sbx_client *client, enum parting_kind kind) {
    count(kind, -1);
    if (--client->parting[kind] == 0 && client->parting_waiter != NULL)
        io_notify(&client->io, client->parting_waiter);
}

void parting_over(struct sbx_client *client) {
    io_background(&client->io, -1);
}

void parting_end(struct sbx_client *client, enum parting_kind kind) {
    parting_let_be(client, kind);
    parting_over(client);
}

static void time_up(void *ctx) {
    struct sbx_client *client = ctx;
    io_notify(&client->io, client->parting_waiter);
}

static void wait_for(struct sbx_client *client, enum parting_kind kind, int64_t until) {
    struct io_timer timer = {.fire = time_up, .ctx = client};
    while (client->parting[kind] > 0 && clock_ms() < until) {
        struct io_waiter waiter;
        io_waiter_init(&waiter);
        client->parting_waiter = &waiter;
        bool set = io_timer_set(&client->io, &timer, until);
        if (set) io_wait(&client->io, &waiter);
        io_timer_clear(&client->io, &timer);
        client->parting_waiter = NULL;
        io_waiter_destroy(&waiter);
        if (!set) return;
    }
}

void parting_wait(struct sbx_client *client) {
    if (testing_off("parting")) return;
    int64_t begin = clock_ms();
    for (enum parting_kind kind = 0; kind < PARTING_KINDS; kind++)
        wait_for(client, kind, begin + LONGEST[kind]);
}
