/* The table of processes: every command, foreground or background, from its start to being forgotten. */
#ifndef AGENT_PROCESS_H
#define AGENT_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/channel.h"
#include "agent/command.h"
#include "agent/input.h"
#include "agent/keys.h"
#include "agent/loop.h"
#include "agent/output.h"
#include "agent/reap.h"
#include "agent/tree.h"
#include "util/buf.h"

struct process;
struct sandbox;
struct signal_tree;
struct spawn;
struct stream;

/* The processes of one sandbox. */
struct process_set {
    struct process *oldest, *newest;                /* by start */
    struct process *first_finished, *last_finished; /* by end */
    size_t running, finished, finished_bytes;
    int64_t last_end; /* loop_now() when the last one ended; 0 = none yet */
    bool closed;      /* nothing is started any more */
    struct output_pool pool;
};

/* What the rest of the agent needs. */

bool process_init(void); /* once, with SIGCHLD blocked and loop_init done; false: said why on stderr */
void process_set_init(struct process_set *set);
size_t process_running(void);   /* commands of all sandboxes that run now: they count as activity */
int64_t process_last_end(void); /* loop_now() when the last one ended; 0 = none yet */

/* At shutdown: SIGTERM to every tree, then SIGKILL after grace_ms; done is called when nothing is left or
   after twice that time. From then on nothing can be started. */
void process_end_all(int64_t grace_ms, void (*done)(void));

/* A limit of the whole sandbox was hit ("memory"): ends that command's tree and lets its exit event say so.
   pid may be any process; false when it belongs to no command. */
bool process_limit_hit(pid_t pid, const char *limit);

/* What the process routes need. */

enum process_state { PROCESS_STARTING, PROCESS_FAILED, PROCESS_RUNNING, PROCESS_ENDED };

/* Somebody who waits for news of a process: called after each change of its state, may release itself in it.
 */
struct process_waiter {
    struct process_waiter *next;
    struct process *process; /* NULL while not waiting */
    void (*changed)(struct process_waiter *w);
};

struct process {
    struct process *next_number, *next_pid; /* in the hash tables */
    struct process *older, *newer;          /* in the list of its sandbox, by start */
    struct process *finished_after;         /* in the order of their ends */

    struct sandbox *sandbox;
    uint64_t number; /* id "p-<number>" */
    pid_t pid;
    enum process_state state;
    bool listed;
    bool finished; /* ended, and nothing more to be said about it */
    bool foreground;
    bool timed_out;
    bool deleted;
    bool gave_up; /* its tree was killed in vain */
    int exit_code, exit_signal;
    int64_t started_ms, started_wall_ms, ended_ms;
    const char *limit;      /* that ended it; NULL = none */
    struct command command; /* what a listing needs; the rest is freed once it runs */
    struct key key;

    struct spawn *spawn;
    int spawn_error;
    const char *spawn_step;
    int64_t tick_ms;
    struct timer tick; /* while starting: looks whether it runs by now */
    struct timer timeout;
    struct later later;
    struct reap reap;
    struct tree_op kill;
    struct signal_tree *signals; /* on their way */
    struct channel channels[2];  /* stdout, stderr */
    struct input input;
    struct stream *streams;
    struct process_waiter *waiters;
};

/* Starts what *c says and takes it over. NULL: *error is an errno, or EBUSY for a limit on what runs at once;
   nothing was started. Whether the program could be executed shows later (PROCESS_FAILED). key NULL = none,
   else one that keys_find called new. */
struct process *process_start(struct sandbox *sandbox, struct command *c, bool foreground, const char *key,
                              int *error);

enum process_found { PROCESS_FOUND, PROCESS_UNKNOWN, PROCESS_MALFORMED };
enum process_found process_find(const struct process_set *set, const char *id,
                                struct process **out); /* "p-3", or a bare pid */
struct process *process_of_key(struct key *k);

/* Kills the whole tree; the end comes later, when it is known what survived. No effect while that is under
 * way. */
void process_kill(struct process *p);
/* Sends a signal to the whole tree, whether or not somebody waits for the answer: `sent` is called later,
   unless it was forgotten. NULL: no memory. */
struct signal_tree *signal_tree_send(struct process *p, int signal,
                                     void (*sent)(void *ctx, const struct tree_op *op), void *ctx);
void signal_tree_forget(struct signal_tree *s);
void signal_tree_leader_ended(struct process *p); /* its pid may be a stranger's from now on */

void process_refuse_starts(void);       /* from now on nothing is started */
void process_forget(struct process *p); /* no longer listed; freed when it has ended and nobody looks at it */

void process_wait(struct process *p, struct process_waiter *w);
void process_unwait(struct process_waiter *w); /* no effect when not waiting */

void process_changed(
    struct process *p); /* at the end of the turn: streams, waiters, what follows from the state */
bool process_exit_known(const struct process *p); /* it has ended, and its own output is all held */
bool process_output_closed(const struct process *p);

#endif
