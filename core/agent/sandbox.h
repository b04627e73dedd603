/* What a request is about: in dedicated mode the machine, in host mode one of its sandboxes. */
#ifndef AGENT_SANDBOX_H
#define AGENT_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/keys.h"
#include "agent/process.h"

struct tenant;

struct sandbox {
    const char *id;        /* "" when unknown */
    const char *cwd;       /* where commands start and relative paths begin; absolute */
    char **env;            /* the environment that commands start from; NULL-terminated */
    struct tenant *tenant; /* what keeps it apart from the others in host mode; NULL: it is the machine */
    struct keys keys;
    struct process_set processes;
    size_t under_way;      /* exchanges that have shown a token: they count as activity */
    int64_t last_activity; /* loop_now() of the last one's end or begin */
};

extern struct sandbox sandbox_machine;

#endif
