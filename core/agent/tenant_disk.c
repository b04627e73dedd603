#include "agent/tenant_disk.h"

#include <stdlib.h>
#include <string.h>

#include "agent/sandbox.h"
#include "agent/tenant_kill.h"
#include "agent/tenant_unnamed.h"
#include "agent/tenant_walk.h"
#include "agent/workers.h"
#include "util/clock.h"
#include "util/testing.h"
#include "wire/limits.h"

#define SLICE_US   5000
#define WALKS_MOST 8 /* at once; they take turns */

struct walking {
    struct job job; /* first, so that the one is the other */
    struct timer timer;
    struct tenant *tenant;
    struct tenant_walk *walk;
    int64_t slice_us, took_us;
    struct tenant_unnamed *unnamed;
    bool uploads; /* some may be under way */
    bool named_all, complete, failed;
    uint64_t named, nameless;
};

static struct timer timer;
static size_t walks;
static size_t used; /* sandboxes, at the last look: together they are walked through for a 20th of the time */

/* Named files first; then those without a name, unless it knows already. */
static bool count(struct walking *w, int64_t deadline) {
    if (!w->named_all) {
        if (w->walk == NULL) w->walk = tenant_walk_new(w->tenant->home_fd);
        w->failed = w->walk == NULL;
        if (w->failed) return true;
        w->named_all = tenant_walk_some(w->walk, deadline, &w->named);
        if (!w->named_all) return false;
    }
    if (testing_off("host-unnamed")) return true;
    if (w->unnamed == NULL) w->unnamed = tenant_unnamed_new(w->tenant, w->uploads);
    return w->unnamed == NULL || tenant_unnamed_some(w->unnamed, deadline, &w->nameless);
}

static void work(struct job *j) {
    struct walking *w = (struct walking *)j;
    int64_t begun = clock_us();
    w->complete = count(w, begun + SLICE_US);
    w->slice_us = clock_us() - begun;
    w->took_us += w->slice_us;
}

static uint64_t sum_of(const struct walking *w) {
    bool countless = w->named == UINT64_MAX || w->nameless == UINT64_MAX;
    return countless ? UINT64_MAX : w->named + w->nameless;
}

static bool is_write(const struct route *r) {
    return (strcmp(r->method, "PUT") == 0 && strcmp(r->pattern, "files/write") == 0) ||
           (strcmp(r->method, "POST") == 0 && strcmp(r->pattern, "files/mkdir") == 0);
}

/* Who is over the limit may still make room: only when it grows further nobody may go on. */
static void judge(struct tenant *t, uint64_t sum) {
    struct tenant_walked *k = &t->walked;
    bool over = t->limits.disk != 0 && sum > t->limits.disk && !testing_off("host-disk");
    bool grew = over && (!k->over || sum > k->used || sum == UINT64_MAX);
    k->used = sum;
    k->over = over;
    if (!grew) return;
    tenant_kill_commands(t, "disk");
    conn_abort_some(&t->sandbox, is_write);
}

static void end(struct walking *w) {
    struct tenant *t = w->tenant;
    int64_t pause = w->took_us * 20 * (int64_t)(used > 1 ? used : 1) / 1000;
    if (pause < INTERVAL_DISK) pause = INTERVAL_DISK;
    t->walked.next = t->walked.begun + pause;
    t->walked.under_way = false;
    if (w->complete && !w->failed && t->state == TENANT_LIVE) judge(t, sum_of(w));
    tenant_walk_free(w->walk);
    tenant_unnamed_free(w->unnamed);
    t->held--;
    walks--;
    free(w);
}

static void go_on(struct timer *t) {
    struct walking *w = (struct walking *)((char *)t - offsetof(struct walking, timer));
    workers_submit(&w->job);
}

static void done(struct job *j) {
    struct walking *w = (struct walking *)j;
    int64_t pause = w->slice_us * 20 * (int64_t)walks / 1000;
    if (!w->complete && w->tenant->state == TENANT_LIVE && loop_timer(&w->timer, loop_now() + pause, go_on))
        return;
    end(w);
}

static void begin(struct tenant *t) {
    struct walking *w = calloc(1, sizeof *w);
    if (w == NULL) return;
    w->tenant = t;
    w->uploads = t->sandbox.under_way > 0;
    w->job.work = work;
    w->job.done = done;
    t->walked.under_way = true;
    t->walked.begun = loop_now();
    t->held++;
    walks++;
    workers_submit(&w->job);
}

static bool is_used(const struct tenant *t) {
    const struct sandbox *s = &t->sandbox;
    int64_t last = s->last_activity > s->processes.last_end ? s->last_activity : s->processes.last_end;
    return s->under_way > 0 || s->processes.running > 0 || t->watched.processes > 0 ||
           last >= t->walked.begun;
}

/* From where the last look ended, so that each has its turn. */
static void look(struct timer *timer_) {
    static char last[TENANT_ID + 1];
    int64_t now = loop_now();
    struct tenant *first = tenants_first(), *from = first;
    for (struct tenant *t = first; t != NULL; t = t->next)
        if (strcmp(t->id, last) == 0) from = t->next;
    used = 0;
    for (struct tenant *t = first; t != NULL; t = t->next)
        used += is_used(t);
    for (size_t n = tenants_count(); n > 0 && walks < WALKS_MOST && first != NULL; n--) {
        if (from == NULL) from = first;
        if (from->state == TENANT_LIVE && !from->walked.under_way && now >= from->walked.next &&
            is_used(from)) {
            memcpy(last, from->id, sizeof last);
            begin(from);
        }
        from = from->next;
    }
    loop_timer(timer_, now + INTERVAL_DISK / 2, look);
}

void tenant_disk_start(void) {
    loop_timer(&timer, loop_now() + INTERVAL_DISK, look);
}

bool tenant_disk_admits(struct exchange *x, const struct route *r) {
    const struct tenant *t = x->sandbox->tenant;
    const struct tenant_walked *k = &t->walked;
    uint64_t most = t->limits.disk;
    if (most == 0 || !is_write(r) || testing_off("host-disk")) return true;
    uint64_t room = k->used < most ? most - k->used : 0;
    int64_t length = x->request->content_length;
    if (!k->over && (length < 0 || (uint64_t)length <= room)) return true;
    exchange_error(x, WIRE_NO_SPACE,
                   "the sandbox has %llu bytes left of the %llu that its files may take: delete some",
                   (unsigned long long)room, (unsigned long long)most);
    return false;
}
