/* A few threads for file system calls that can block. A job runs on a worker and completes on the loop. */
#ifndef AGENT_WORKERS_H
#define AGENT_WORKERS_H

#include <stdbool.h>

struct job {
    struct job *next;
    void (*work)(struct job *j); /* on a worker: must not touch loop, connections or processes */
    void (*done)(struct job *j); /* on the loop; may free the job */
};

bool workers_init(void);        /* threads start with the first job, so an idle agent has none */
void workers_submit(struct job *j);

#endif
