#include "agent/process_table.h"

#include <stddef.h>
#include <string.h>

#include "agent/sandbox.h"
#include "util/testing.h"
#include "util/text.h"
#include "wire/limits.h"

#define BUCKETS        256
#define FINISHED_BYTES MIB(4) /* of command lines of ended processes of a sandbox */

static struct process *by_number[BUCKETS], *by_pid[BUCKETS];

enum process_found process_find(const struct process_set *set, const char *id, struct process **out) {
    bool own = strncmp(id, "p-", 2) == 0;
    const char *digits = own ? id + 2 : id;
    uint64_t value;
    if (!text_u64(digits, strlen(digits), &value)) return PROCESS_MALFORMED;
    struct process *found = NULL;
    for (struct process *p = (own ? by_number : by_pid)[value % BUCKETS]; p != NULL;
         p = own ? p->next_number : p->next_pid) {
        if (!p->listed || p->state == PROCESS_STARTING || (own ? p->number : (uint64_t)p->pid) != value)
            continue;
        if (&p->sandbox->processes != set && !testing_off("process-owner")) continue;
        found = p; /* of ended ones that had the same pid, the latest stands first */
        break;
    }
    *out = found;
    return found != NULL ? PROCESS_FOUND : PROCESS_UNKNOWN;
}

struct process *process_of_key(struct key *k) {
    return (struct process *)((char *)k - offsetof(struct process, key));
}

void process_table_enter(struct process *p) {
    struct process_set *set = &p->sandbox->processes;
    p->next_number = by_number[p->number % BUCKETS];
    by_number[p->number % BUCKETS] = p;
    p->next_pid = by_pid[(unsigned)p->pid % BUCKETS];
    by_pid[(unsigned)p->pid % BUCKETS] = p;
    p->older = set->newest;
    if (set->newest != NULL)
        set->newest->newer = p;
    else
        set->oldest = p;
    set->newest = p;
    p->listed = true;
}

void process_table_leave(struct process *p) {
    struct process_set *set = &p->sandbox->processes;
    struct process **at = &by_number[p->number % BUCKETS];
    while (*at != p)
        at = &(*at)->next_number;
    *at = p->next_number;
    at = &by_pid[(unsigned)p->pid % BUCKETS];
    while (*at != p)
        at = &(*at)->next_pid;
    *at = p->next_pid;
    if (p->older != NULL)
        p->older->newer = p->newer;
    else
        set->oldest = p->newer;
    if (p->newer != NULL)
        p->newer->older = p->older;
    else
        set->newest = p->older;
}

struct process *process_table_running(pid_t pid) {
    for (struct process *p = by_pid[(unsigned)pid % BUCKETS]; p != NULL; p = p->next_pid)
        if (p->pid == pid && p->state == PROCESS_RUNNING) return p;
    return NULL;
}

bool process_table_starting(pid_t pid) {
    for (struct process *p = by_pid[(unsigned)pid % BUCKETS]; p != NULL; p = p->next_pid)
        if (p->pid == pid && p->state == PROCESS_STARTING) return true;
    return false;
}

void process_table_each(void (*fn)(struct process *p)) {
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct process *p = by_number[i]; p != NULL; p = p->next_number)
            fn(p);
}

/* ---- Ended ones */

static size_t kept_bytes(const struct process *p) {
    return strlen(p->command.cmd_json);
}

static void unfinish(struct process *p) {
    struct process_set *set = &p->sandbox->processes;
    struct process **at = &set->first_finished, *before = NULL;
    for (; *at != p; at = &(*at)->finished_after)
        before = *at;
    *at = p->finished_after;
    if (set->last_finished == p) set->last_finished = before;
    set->finished--;
    set->finished_bytes -= kept_bytes(p);
}

void process_forget(struct process *p) {
    if (!p->listed) return;
    p->listed = false;
    keys_forget(&p->key);
    if (p->finished) unfinish(p);
    process_changed(p);
}

void process_table_finish(struct process *p) {
    struct process_set *set = &p->sandbox->processes;
    p->finished = true;
    if (!p->listed) return;
    p->finished_after = NULL;
    if (set->last_finished != NULL)
        set->last_finished->finished_after = p;
    else
        set->first_finished = p;
    set->last_finished = p;
    set->finished++;
    set->finished_bytes += kept_bytes(p);
    while (set->finished > LIMIT_FINISHED || (set->finished_bytes > FINISHED_BYTES && set->finished > 1))
        process_forget(set->first_finished);
}

/* Memory is short: the output of the process that ended first goes, if nobody is reading it. */
bool process_table_reclaim(struct output_pool *pool, const struct output_pool *asking) {
    (void)asking;
    const struct process_set *set = (struct process_set *)((char *)pool - offsetof(struct process_set, pool));
    for (struct process *p = set->first_finished; p != NULL; p = p->finished_after) {
        if (p->streams != NULL || p->channels[0].out.cap + p->channels[1].out.cap == 0) continue;
        output_discard(&p->channels[0].out);
        output_discard(&p->channels[1].out);
        return true;
    }
    return false;
}
