/* Sandboxes of host mode that nobody uses are ended. */
#include "agent/tenant.h"
#include "util/clock.h"
#include "util/testing.h"

#define INTERVAL 500

static struct timer timer;

static bool is_idle(const struct tenant *t, int64_t now) {
    const struct sandbox *s = &t->sandbox;
    int64_t last = s->last_activity > s->processes.last_end ? s->last_activity : s->processes.last_end;
    bool busy = s->under_way > 0 || s->processes.running > 0;
    if (testing_off("activity")) busy = false;
    return t->state == TENANT_LIVE && t->idle_ms >= 0 && !busy && now - last >= t->idle_ms;
}

static void look(struct timer *t) {
    for (struct tenant *i = tenants_first(), *next; i != NULL; i = next) {
        next = i->next;
        if (is_idle(i, loop_now())) tenant_end(i, NULL);
    }
    loop_timer(t, loop_now() + INTERVAL, look);
}

void tenant_idle_start(void) {
    loop_timer(&timer, loop_now() + INTERVAL, look);
}
