#include "agent/tenant_jobs.h"

#include "util/testing.h"

#define AT_ONCE 2

void tenant_jobs_submit(struct tenant *t, struct job *j) {
    if (t->jobs < AT_ONCE || testing_off("host-turns")) {
        t->jobs++;
        workers_submit(j);
        return;
    }
    j->next = NULL;
    if (t->first_job == NULL)
        t->first_job = j;
    else
        t->last_job->next = j;
    t->last_job = j;
}

void tenant_jobs_completed(struct tenant *t) {
    struct job *j = t->first_job;
    t->jobs--;
    if (j == NULL) return;
    t->first_job = j->next;
    t->jobs++;
    workers_submit(j);
}
