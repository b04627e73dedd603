/* A sandbox of host mode: one user id, one home directory and one Landlock domain beside those of the others.
 */
#ifndef AGENT_TENANT_H
#define AGENT_TENANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/confine.h"
#include "agent/loop.h"
#include "agent/sandbox.h"

#define TENANT_ID    16 /* hex digits */
#define TENANT_TOKEN 64

enum tenant_state {
    TENANT_MAKING, /* its home is not there yet: nobody knows of it */
    TENANT_LIVE,
    TENANT_ENDING, /* no request reaches it any more; its processes and files are going */
    TENANT_GONE    /* released when nobody holds it any more */
};

/* What tenant_watch.c has found, and knows from one look to the next. */
struct tenant_watched {
    uint64_t memory; /* as counted last: exactly, or at most that */
    size_t processes;
    uint64_t fine_below; /* an upper bound below this cannot be over the limit, as last_exact found */
    int64_t last_exact;
    pid_t killed;
    int64_t killed_at, first_kill; /* the latest of a row of kills, and the first */
};

struct job;
struct tenant_start;

/* Likewise tenant_disk.c. */
struct tenant_walked {
    uint64_t used;
    bool over; /* the limit */
    bool under_way;
    int64_t begun, next; /* loop_now() of the last walk's begin, and when the next may begin */
};

/* Somebody who waits for the end. */
struct tenant_waiter {
    struct tenant_waiter *next;
    void (*ended)(struct tenant_waiter *w,
                  const char *left); /* left: what could not be removed; NULL = nothing */
};

struct tenant {
    struct sandbox sandbox;
    struct tenant *next, *next_id; /* in the order of creation, and in its bucket */
    char id[TENANT_ID + 1];
    char token[TENANT_TOKEN + 1];
    enum tenant_state state;
    uid_t uid; /* and gid */
    char *home;
    int home_fd;          /* O_PATH */
    int ruleset;          /* Landlock, entered by each command; -1 without */
    struct limits limits; /* open_files of each process, the others of all together */
    int64_t idle_ms;      /* -1 = never */
    int64_t created_ms, created_wall_ms;
    struct tenant_watched watched;
    struct tenant_walked walked;
    size_t jobs;                      /* of file operations, with the workers */
    struct job *first_job, *last_job; /* and those that wait for them */
    struct tenant_start *starts;      /* of commands, that wait; tenant_starts.c */
    struct tenant *next_start;        /* in the row of sandboxes with such */
    bool starts_wait;
    bool stopping; /* tenant_kill_commands is at it */
    size_t held;   /* by file operations and others that outlive their request */
    struct tenant_end *end;
    struct tenant_waiter *waiters;
};

/* Host mode is on, with a place for homes and the first user id. False: said why. */
bool tenants_init(const char *directory, uid_t first, uid_t last, size_t capacity);
size_t tenants_count(void); /* those that take a place: also while they begin and end */
size_t tenants_capacity(void);
int64_t tenants_last_end(void);
bool tenants_own(uid_t uid);        /* whether it is for sandboxes, whether one has it or not */
struct tenant *tenants_first(void); /* then ->next; of every state but gone */

struct tenant *tenant_find(const char *id, size_t len); /* a live one */

/* A new one in state making, which has its id, token, user and environment, and takes a place. NULL: no
   place, no user id, no memory or no random bytes; then *full says whether it is for want of a place. */
struct tenant *tenant_new(char *const *env, const struct limits *limits, int64_t idle_ms, bool *full);

/* On a worker: its home and its domain. 0 or an errno. */
int tenant_make_home(struct tenant *t);
void tenant_made(struct tenant *t); /* on the loop: it is live */

/* Ends it: its processes, its files, its place. *w, which may be NULL, is told. May be called again. */
void tenant_end(struct tenant *t, struct tenant_waiter *w);
void tenant_unwait(struct tenant *t, struct tenant_waiter *w);
void tenants_close(void); /* from now on there is no place for another */
void tenants_end_all(
    void (*done)(void)); /* at shutdown; done is called when none is left, or at its deadline */

void tenant_idle_start(void); /* from now on those that are idle for too long are ended */

/* On the thread of a file operation: its rights are the tenant's until it comes back. False: it stayed as it
 * was. */
bool tenant_become(const struct tenant *t);
void tenant_come_back(const struct tenant *t);

/* Whether a process, which may be a zombie, has the user of command number n's sandbox, or still the agent's.
 * Commands are counted from 1; one that is not known may have anything. */
bool tenant_owns(uint64_t n, pid_t pid);

/* For tenant_end.c. */
void tenant_release(struct tenant *t);

#endif
