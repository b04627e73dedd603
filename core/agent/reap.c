#include "agent/reap.h"

#include <errno.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define BUCKETS 256

static struct reap *table[BUCKETS];
static void (*on_orphan)(pid_t pid);

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

bool reap_expects(pid_t pid) {
    return *find(pid) != NULL;
}

void reap_on_orphan(void (*ended)(pid_t pid)) {
    on_orphan = ended;
}

static pid_t wait_for(idtype_t type, pid_t pid, siginfo_t *info, int options) {
    info->si_pid = 0;
    int result;
    do
        result = waitid(type, (id_t)pid, info, WEXITED | WNOHANG | options);
    while (result != 0 && errno == EINTR);
    return result == 0 ? info->si_pid : 0;
}

void reap_signal(void) {
    siginfo_t info;
    for (pid_t pid; (pid = wait_for(P_ALL, 0, &info, on_orphan != NULL ? WNOWAIT : 0)) != 0;) {
        struct reap **at = find(pid), *r = *at;
        if (on_orphan != NULL) {
            if (r == NULL) on_orphan(pid);
            if (wait_for(P_PID, pid, &info, 0) == 0) return;
        }
        if (r == NULL) continue;
        *at = r->next;
        r->pid = 0;
        bool exited = info.si_code == CLD_EXITED;
        r->ended(r, exited ? info.si_status : 0, exited ? 0 : info.si_status);
    }
}
