/* All processes that a command started, wherever they went: a command's number is written into a hard
   resource limit (RLIMIT_RTTIME, which concerns real-time scheduling only), which every descendant inherits
   through fork, exec, setsid and an emptied environment, and which an unprivileged process can lower but not
   raise. A process belongs to a command by that mark, by its session or group while the leader is not reaped,
   or by a parent that belongs. */
#ifndef AGENT_TREE_H
#define AGENT_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/loop.h"

void tree_init(void);

/* The value that marks command number n (counted from 1); 0 when the limit that the agent itself inherited
 * leaves no room. */
uint64_t tree_tag(uint64_t n);

#define TREE_ALL UINT64_MAX /* as number: every command of this agent */

/* One signal to one tree. SIGKILL is repeated until nothing is left or the deadline has passed; others are
   sent once to each. Embedded; zero-initialise, fill the first part, tree_start. Looking at thousands of
   processes is done in steps, so the loop goes on. */
struct tree_op {
    uint64_t number;
    pid_t leader;   /* 0 once it has been reaped: set it so at that moment */
    int signal;     /* 0 = only counted, in `signalled` */
    bool uncounted; /* nobody asks how many, so that the first pass may take all at once */
    bool alone;     /* no other command runs, until one is started: processes whose mark is nobody's belong
                       to it too */
    uint64_t since; /* tree_clock() when the command was started: nothing older belongs to it */
    void (*done)(struct tree_op *op);

    struct tree_op *next;
    bool active;
    bool everything;  /* nothing but its own was there at the last look */
    bool stirred;     /* during the pass an orphan ended that was its, or may have been */
    size_t signalled; /* processes, each counted once */
    pid_t *survivors; /* of SIGKILL, sorted; the owner frees it */
    size_t survivor_count;
    size_t room;
    pid_t *before; /* what the pass before has signalled; the owner frees it too */
    size_t before_count, before_room;
    int64_t deadline;
    unsigned passes;
};

void tree_start(struct tree_op *op);  /* done is called later, never from inside */
void tree_cancel(struct tree_op *op); /* forgets it without calling done; no effect when not active */
void tree_started(uint64_t n);        /* command number n, the highest so far, has been started */
uint64_t tree_clock(void);            /* now, as /proc tells when a process began */

#endif
