#include "progress.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "print.h"

#define QUIET_MS  400 /* what is done sooner needs no line */
#define REDRAW_MS 200

enum phase { ASKED, SCHEDULING, RUNNING, PHASES };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    bool on, fresh;
    enum phase phase;
    int64_t at[PHASES];
    char id[128];
} now;

static int64_t clock_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static void enter(enum phase phase) {
    now.phase = phase;
    now.at[phase] = clock_ms();
}

void progress_begin(const char *id) {
    const char *terminal = getenv("TERM");
    if (!isatty(STDERR_FILENO) || !terminal || strcmp(terminal, "dumb") == 0) return;
    pthread_mutex_lock(&lock);
    now.on = true;
    now.fresh = id == NULL;
    snprintf(now.id, sizeof now.id, "%s", id ? id : "");
    enter(ASKED);
    pthread_mutex_unlock(&lock);
}

void progress_end(void) {
    pthread_mutex_lock(&lock);
    bool was_on = now.on;
    now.on = false;
    pthread_mutex_unlock(&lock);
    if (was_on) print_status(NULL);
}

int progress_wait_ms(void) {
    pthread_mutex_lock(&lock);
    int ms = now.on ? REDRAW_MS : -1;
    pthread_mutex_unlock(&lock);
    return ms;
}

static const char *field(const sbx_log_field *fields, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(fields[i].name, name) == 0) return fields[i].value;
    }
    return "";
}

void progress_event(const char *event, const sbx_log_field *fields, size_t count) {
    pthread_mutex_lock(&lock);
    if (now.on && strcmp(event, "sandbox.retried") == 0) {
        enter(ASKED);
    } else if (now.on && strcmp(event, "sandbox.progress") == 0) {
        const char *phase = field(fields, count, "phase");
        if (now.fresh) snprintf(now.id, sizeof now.id, "%s", field(fields, count, "id"));
        if (strcmp(phase, "accepted") == 0) enter(SCHEDULING);
        if (strcmp(phase, "running") == 0) enter(RUNNING);
    }
    pthread_mutex_unlock(&lock);
}

void progress_draw(void) {
    char line[256];
    pthread_mutex_lock(&lock);
    int64_t time = clock_ms();
    bool draw = now.on && time - now.at[ASKED] >= QUIET_MS;
    double since = (double)(time - now.at[now.phase]) / 1000,
           scheduled = (double)(now.at[RUNNING] - now.at[SCHEDULING]) / 1000;
    if (now.phase == SCHEDULING) {
        snprintf(line, sizeof line, "%s: scheduling, %.1f s", now.id, since);
    } else if (now.phase == RUNNING && now.fresh) {
        snprintf(line, sizeof line, "%s: running after %.1f s, waiting for its agent, %.1f s", now.id,
                 scheduled, since);
    } else if (now.phase == RUNNING) {
        snprintf(line, sizeof line, "%s: running, waiting for its agent, %.1f s", now.id, since);
    } else {
        snprintf(line, sizeof line, "%s%s, %.1f s", now.fresh ? "asking for a sandbox" : "connecting to ",
                 now.id, since);
    }
    pthread_mutex_unlock(&lock);
    /* The id may be what somebody typed. */
    for (char *c = line; *c; c++) {
        if ((unsigned char)*c < ' ' || (unsigned char)*c >= 0x7f) *c = '?';
    }
    if (draw) print_status(line);
}
