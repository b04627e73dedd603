/* The limits of a local sandbox: which hold, and the part of them that a command takes on itself. */
#ifndef AGENT_LIMITS_H
#define AGENT_LIMITS_H

#include "agent/confine.h"

struct limits {
    uint64_t processes, memory, disk, open_files; /* 0 = none */
};

void limits_choose(const struct confine_config *c); /* fills in the defaults of the level */
const struct limits *limits_get(void);

/* While /proc is the host's: what limits_child will set. */
bool limits_prepare(struct confine_error *e);

int limits_child(void); /* between clone and exec: raw calls only; 0 or -errno */

#endif
