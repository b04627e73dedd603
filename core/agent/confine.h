/* Isolation as a table of steps, run in order. Each step has a name, whether the chosen level requires it,
   and afterwards whether it holds. What holds is reported to everyone who asks; a required step that cannot
   be had ends the start with an error that names the step, the cause and the remedy. */
#ifndef AGENT_CONFINE_H
#define AGENT_CONFINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "util/buf.h"

enum confine_level {
    CONFINE_NONE,     /* nothing but process limits: the machine is the boundary (Jobs, Spaces), or the caller
                         asked */
    CONFINE_LANDLOCK, /* no namespaces: Landlock, seccomp and limits, as the caller's own user (root: as a uid
                         of its own) */
    CONFINE_FULL,     /* namespaces, own root, Landlock, seccomp, limits */
    CONFINE_HOST      /* many sandboxes: each a user, a Landlock domain, seccomp and limits */
};

struct sandbox;

struct confine_bind {
    char *source;
    char *target;
    bool writable;
};

struct limits {
    uint64_t processes, memory, disk, open_files; /* 0 = none */
};

struct confine_config {
    enum confine_level level;
    bool host_network;
    char *hostname;
    char *dir; /* the sandbox's private directory on the host, or NULL */
    struct confine_bind *binds;
    size_t bind_count;
    struct limits limits;
};

struct confine_error {
    const char *step;
    int error; /* errno, 0 = none */
    char text[256];
    char remedy[256]; /* what to change, or "" */
};

/* One step: its bits say at which levels it is taken, and at which of them it must hold. */
struct confine_step {
    const char *name, *detail;
    bool (*apply)(const struct confine_config *c, struct confine_error *e);
    unsigned part, required;
};

#define CONFINE_AT_NONE           (1U << CONFINE_NONE)
#define CONFINE_WITH_HOST_NETWORK 16U /* required at level full too when the network is the host's */
#define CONFINE_STEPS             16  /* the most that a table may have */
#define CONFINE_HIDE_DETAIL       "commands can neither read nor trace the agent"

struct confine_table {
    const struct confine_step *steps;
    size_t count;
    int (*child)(const struct sandbox *sandbox); /* confine_child(), or NULL */
    const char *(*detail)(
        const struct confine_step *step); /* of this sandbox alone; NULL = the step's own. May be NULL */
};

/* Takes the steps of a table in order. False: a required one cannot be had, and *e says why. */
bool confine_run(const struct confine_table *t, const struct confine_config *c, struct confine_error *e);

/* The table of a sandbox on this computer. Run by the process that will serve, inside the namespaces that
   keeper.h made, before any thread or connection. False: *e says why, and the caller reports it and exits. */
bool confine_apply(const struct confine_config *c, struct confine_error *e);

/* What a spawned child does itself between clone and exec: limits that must not bind the agent. Raw system
   calls only; returns 0 or -errno. */
int confine_child(const struct sandbox *sandbox);

/* Where commands of a confined sandbox find their home, and a directory for temporary files; known after
   confine_apply. NULL: the level gives none. */
const char *confine_home(void);
const char *confine_tmp(void);
void confine_places(const char *home, const char *tmp); /* by the table's steps; not copied */

/* Sets what an error says and returns false. The remedy may be "". */
bool confine_fail(struct confine_error *e, const char *step, int error, const char *remedy,
                  const char *format, ...) __attribute__((format(printf, 5, 6)));

/* The line that LOCAL_FD_STATUS carries when a start fails, without its newline. */
bool confine_error_json(const struct confine_error *e, struct buf *out);

/* Dedicated mode, where the machine is the boundary: protects the agent's memory from its commands as far as
 * can be had. */
void confine_dedicated(void);

/* {"level","steps":[…]} and the limits, as JSON. In dedicated mode outside a local sandbox too: it then says
   what an image's commands could do, for example read the agent's memory. */
bool confine_report(struct buf *out);
bool confine_report_limits(struct buf *out, const struct limits *l);
bool confine_report_network(struct buf *out); /* "none" or "host" */

#endif
