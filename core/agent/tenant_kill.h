/* Kills every process of a sandbox of host mode. A user id bounds them exactly: one who has become that user,
   and signals everybody, reaches them all and nobody else. */
#ifndef AGENT_TENANT_KILL_H
#define AGENT_TENANT_KILL_H

#include <stdbool.h>
#include <sys/types.h>

#include "agent/loop.h"
#include "agent/reap.h"
#include "agent/tenant.h"

#define TENANT_KILL_STACK 512 /* words */

struct tenant_kill {
    uid_t uid;
    void (*ended)(struct tenant_kill *k, bool none); /* none: there was no process of that user */
    struct reap reap;
    struct timer guard;
    _Atomic int tid;
    void *stack[TENANT_KILL_STACK] __attribute__((aligned(16)));
};

/* One round; `ended` is called later. False: no process can be had for it. */
bool tenant_kill_start(struct tenant_kill *k);

/* A limit of the sandbox as a whole: its commands end, and say by which. */
void tenant_kill_commands(struct tenant *t, const char *limit);

#endif
