#include "client/local_end.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/client.h"
#include "client/handover.h"
#include "client/local_list.h"
#include "client/local_pool.h"
#include "client/local_spawn.h"
#include "client/record.h"
#include "util/clock.h"
#include "util/scope.h"
#include "util/testing.h"
#include "wire/names.h"

#define KILL_GRACE    2000  /* between SIGTERM and SIGKILL */
#define HIDDEN_MOST   10000 /* for the end of one whose keeper gets no signal from here */
#define INTERVAL_LOCK 20    /* between two looks at its lock */

struct target { /* a sandbox that was told to end */
    struct target *next;
    struct reaper *reaper;
    struct io_watch watch; /* of its keeper; fd -1: that cannot be seen from here */
    int dir, socket;       /* then: its lock tells its end; where it was told */
    bool damaged;          /* its record, which has the token: it cannot be told */
    char id[RECORD_ID_SIZE];
};

struct reaper {
    struct op *op;
    struct target *targets;
    struct io_timer grace, poll;
    int64_t now, min_age_ms, hidden_until;
    int runtime;
    const char *pool; /* only its own; NULL = all */
};

static void target_free(struct target *t) {
    io_watch_clear(&t->reaper->op->client->io, &t->watch);
    scope_close(&t->watch.fd);
    scope_close(&t->dir);
    scope_close(&t->socket);
    free(t);
}

static void reap_end(struct op *op, sbx_status status) {
    struct reaper *r = op->ctx;
    (void)status;
    io_timer_clear(&op->client->io, &r->grace);
    io_timer_clear(&op->client->io, &r->poll);
    while (r->targets != NULL) {
        struct target *t = r->targets;
        r->targets = t->next;
        target_free(t);
    }
    scope_close(&r->runtime);
    free(r);
}

static void reap_check(struct reaper *r) {
    if (r->targets == NULL) op_done(r->op, SBX_OK);
}

static void target_ended(struct target *t) {
    struct reaper *r = t->reaper;
    for (struct target **at = &r->targets; *at != NULL; at = &(*at)->next) {
        if (*at != t) continue;
        *at = t->next;
        break;
    }
    record_clean(r->runtime, t->id); /* its keeper has done so, unless it was ended by SIGKILL */
    r->op->out.number++;
    target_free(t);
}

static void on_target_ended(void *ctx, unsigned events) {
    struct reaper *r = ((struct target *)ctx)->reaper;
    (void)events;
    target_ended(ctx);
    reap_check(r);
}

static void on_reap_grace(void *ctx) {
    struct reaper *r = ctx;
    for (struct target *t = r->targets; t != NULL; t = t->next)
        if (t->watch.fd >= 0) local_spawn_signal(t->watch.fd, SIGKILL);
}

/* Those whose keepers no signal reaches. */
static void on_reap_poll(void *ctx) {
    struct reaper *r = ctx;
    const struct target *hidden = NULL;
    for (struct target *t = r->targets, *next; t != NULL; t = next) {
        next = t->next;
        if (t->watch.fd >= 0) continue;
        if (!record_alive(t->dir))
            target_ended(t);
        else
            hidden = t;
    }
    if (hidden == NULL) {
        reap_check(r);
        return;
    }
    sbx_error error = {.code = SBX_OK};
    if (clock_ms() >= r->hidden_until)
        error_set(&error, SBX_ERROR_AGENT,
                  "sandbox %s did not end: its keeper cannot be seen from here (another pid namespace), and "
                  "its agent "
                  "%s; end it there",
                  hidden->id,
                  hidden->damaged ? "cannot be told because the record is damaged"
                                  : "does not heed its socket");
    else if (!io_timer_set(&r->op->client->io, &r->poll, clock_deadline(INTERVAL_LOCK)))
        error_memory(&error);
    if (error.code != SBX_OK) op_fail(r->op, &error);
}

/* Told over its socket, without waiting for an answer. What went wrong shows by its not ending. */
static int tell(int dir, const struct record *record) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char request[256];
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", dir, LOCAL_SOCKET);
    int n = snprintf(request, sizeof request,
                     "POST /v1/shutdown HTTP/1.1\r\nHost: agent\r\n" HEADER_TOKEN
                     ": %s\r\nContent-Length: 0\r\n\r\n",
                     record->token);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        (void)send(fd, request, (size_t)n, MSG_NOSIGNAL);
    explicit_bzero(request, sizeof request);
    return fd;
}

/* Tells one that runs to end, and takes its keeper over. */
static bool add_target(struct reaper *r, struct local_found *f) {
    int dir = f->keeper < 0 ? record_open(r->runtime, f->record.id, NULL) : -1;
    if (f->keeper < 0 && dir < 0) return true; /* it has ended meanwhile */
    struct target *t = calloc(1, sizeof *t);
    if (t == NULL) {
        scope_close(&dir);
        return false;
    }
    *t = (struct target){.next = r->targets,
                         .reaper = r,
                         .watch = {.ready = on_target_ended, .ctx = t, .fd = steal_fd(&f->keeper)},
                         .dir = dir,
                         .socket = dir >= 0 && !f->damaged ? tell(dir, &f->record) : -1,
                         .damaged = f->damaged};
    memcpy(t->id, f->record.id, sizeof t->id);
    r->targets = t;
    if (dir >= 0) return true;
    if (!io_watch_set(&r->op->client->io, &t->watch, IO_READ)) return false;
    local_spawn_signal(t->watch.fd, SIGTERM);
    return true;
}

static bool reap_visit(struct local_found *f, int runtime, void *ctx) {
    struct reaper *r = ctx;
    if (r->pool != NULL && strcmp(r->pool, f->record.pool) != 0) return true;
    if (r->pool == NULL && local_pool_owns(r->op->client, f->record.id)) return true;
    if (!f->running) {
        if (record_clean(runtime, f->record.id)) r->op->out.number++;
        return true;
    }
    return r->now - f->record.created_at_ms < r->min_age_ms || add_target(r, f);
}

static struct reaper *reaper_new(struct op *op, int64_t min_age_ms) {
    struct reaper *r = calloc(1, sizeof *r);
    if (r == NULL) {
        op_fail_memory(op);
        return NULL;
    }
    *r = (struct reaper){.op = op,
                         .grace = {.fire = on_reap_grace, .ctx = r},
                         .poll = {.fire = on_reap_poll, .ctx = r},
                         .hidden_until = clock_deadline(testing_ms(HIDDEN_MOST)),
                         .now = clock_wall_ms(),
                         .min_age_ms = min_age_ms,
                         .runtime = -1};
    op->ctx = r;
    op->end = reap_end;
    op->out.number = 0;
    cleanup_free char *path = NULL;
    sbx_error error = {.code = SBX_OK};
    r->runtime = record_runtime(&path, op->client->runtime_dir, &error);
    if (r->runtime >= 0) return r;
    op_fail(op, &error);
    return NULL;
}

static void reaper_wait(struct reaper *r) {
    if (r->targets != NULL && !io_timer_set(&r->op->client->io, &r->grace, clock_deadline(KILL_GRACE)))
        on_reap_grace(r);
    on_reap_poll(r);
}

static void end_those(struct op *op, int64_t min_age_ms, const char *pool) {
    struct reaper *r = reaper_new(op, min_age_ms);
    sbx_error error = {.code = SBX_OK};
    if (r == NULL) return;
    r->pool = pool;
    if (local_walk(op->client, reap_visit, r, &error) != SBX_OK) {
        op_fail(op, &error);
        return;
    }
    handover_sweep(r->runtime);
    reaper_wait(r);
}

void local_end_older(struct op *op, const sbx_filter *filter) {
    end_those(op, filter->min_age_ms, NULL);
}

void local_end_pool(struct op *op, const char *pool) {
    end_those(op, 0, pool);
}

void local_end_one(struct op *op, const char *id) {
    struct reaper *r = reaper_new(op, 0);
    sbx_error error = {.code = SBX_OK};
    struct local_found f;
    if (r == NULL) return;
    if (!local_look(&f, r->runtime, id, &error)) {
        op_fail(op, &error);
        return;
    }
    bool running = f.running, added = running && add_target(r, &f);
    local_found_forget(&f);
    if (!running)
        op_failf(op, SBX_ERROR_NOT_FOUND, RECORD_ENDED, id);
    else if (!added)
        op_fail_memory(op);
    else
        reaper_wait(r);
}
