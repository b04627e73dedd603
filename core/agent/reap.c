#include "agent/reap.h"

#include <errno.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define BUCKETS 256

static struct reap *table[BUCKETS];
static uint64_t orphans;

static struct reap **find(pid_t pid) {
    struct reap **at = &table[(unsigned)pid % BUCKETS];
    while (*at != NULL && (*at)->pid != pid)
        at = &(*at)->next;
    return at;
}

bool reap_init(void) {
    return prctl(PR_SET_CHILD_SUBREAPER, 1) == 0;
}

void reap_expect(struct reap *r, pid_t pid, void (*ended)(struct reap *, int, int)) {
    r->pid = pid;
    r->ended = ended;
    r->next = table[(unsigned)pid % BUCKETS];
    table[(unsigned)pid % BUCKETS] = r;
}

void reap_ignore(struct reap *r) {
    if (r->pid == 0) return;
    struct reap **at = find(r->pid);
    if (*at == r) *at = r->next;
    r->pid = 0;
}

uint64_t reap_orphans(void) {
    return orphans;
}

void reap_signal(void) {
    for (;;) {
        siginfo_t info;
        info.si_pid = 0;
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG) != 0) {
            if (errno == EINTR) continue;
            return;
        }
        if (info.si_pid == 0) return;
        struct reap **at = find(info.si_pid), *r = *at;
        if (r == NULL) {
            orphans++;
            continue;
        }
        *at = r->next;
        r->pid = 0;
        bool exited = info.si_code == CLD_EXITED;
        r->ended(r, exited ? info.si_status : 0, exited ? 0 : info.si_status);
    }
}
