#include "signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

#include "exits.h"

#define APART_MS 500

static const int WATCHED[] = {SIGINT, SIGTERM, SIGHUP};

static int wake[2] = {-1, -1};
static volatile sig_atomic_t received;
static volatile sig_atomic_t again;
static struct timespec received_at;

static void on_signal(int number) {
    int saved = errno;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long ms = (long)(now.tv_sec - received_at.tv_sec) * 1000 + (now.tv_nsec - received_at.tv_nsec) / 1000000;
    if (!received || ms > APART_MS) {
        if (again) _exit(EXITS_SIGNAL + received);
        again = received != 0;
        if (!received) received = number;
        received_at = now;
        ssize_t written = write(wake[1], "", 1);
        (void)written;
        alarm(1);
    }
    errno = saved;
}

/* A signal that arrives just before a write that blocks does not interrupt it; this one, again and again,
 * does. */
static void on_alarm(int number) {
    (void)number;
    alarm(1);
}

static void on_pipe(int number) {
    (void)number;
}

static bool handle(int number, void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler};
    sigemptyset(&action.sa_mask);
    return sigaction(number, &action, NULL) == 0;
}

bool signals_install(void) {
    if (pipe(wake) < 0) return false;
    for (int i = 0; i < 2; i++) {
        if (fcntl(wake[i], F_SETFD, FD_CLOEXEC) < 0 || fcntl(wake[i], F_SETFL, O_NONBLOCK) < 0) return false;
    }
    for (size_t i = 0; i < sizeof WATCHED / sizeof *WATCHED; i++) {
        struct sigaction old;
        if (sigaction(WATCHED[i], NULL, &old) < 0) return false;
        if (old.sa_handler == SIG_IGN)
            continue; /* nohup, or a shell's background job: the caller wants it ignored */
        if (!handle(WATCHED[i], on_signal)) return false;
    }
    /* A handler, not SIG_IGN: programs started from here would inherit that. */
    return handle(SIGALRM, on_alarm) && handle(SIGPIPE, on_pipe);
}

int signals_fd(void) {
    return wake[0];
}

void signals_drain(void) {
    char bytes[16];
    while (read(wake[0], bytes, sizeof bytes) > 0)
        continue;
}

bool signals_again(void) {
    return again;
}

void signals_forget(void) {
    received = again = 0;
    alarm(0);
}

int signals_received(void) {
    return received;
}

void signals_end(void) {
    int number = received;
    if (!number) return;
    handle(number, SIG_DFL);
    raise(number);
    _exit(EXITS_SIGNAL + number);
}
