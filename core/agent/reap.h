/* The ends of children. SIGCHLD is the one message that the kernel sends about them: whoever reads the
   signalfd calls reap_signal, which collects every ended child, the commands that somebody expects and the
   orphans that came to the agent as subreaper or pid 1. Until its `ended` is called, an expected child's pid
   is its own and may be signalled. */
#ifndef AGENT_REAP_H
#define AGENT_REAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Embedded in whatever waits for a child. */
struct reap {
    struct reap *next;
    pid_t pid;                                           /* 0 while nothing is expected */
    void (*ended)(struct reap *r, int code, int signal); /* signal 0: it exited with code */
};

bool reap_init(void);   /* makes the agent the reaper of orphans; SIGCHLD must be blocked by then */
void reap_signal(void); /* SIGCHLD has arrived */

/* Called with each child that nobody expected before it is collected; NULL = nobody asks. */
void reap_on_orphan(void (*ended)(pid_t pid));

void reap_expect(struct reap *r, pid_t pid, void (*ended)(struct reap *, int, int));
bool reap_expects(pid_t pid);     /* it is a child that somebody expects and that has not been collected */
void reap_ignore(struct reap *r); /* nobody asks any more; the child is still collected */

#endif
