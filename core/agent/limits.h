/* The limits of a local sandbox: which hold, and the part of them that a command takes on itself. */
#ifndef AGENT_LIMITS_H
#define AGENT_LIMITS_H

#include "agent/confine.h"

void limits_choose(const struct confine_config *c);
const struct limits *limits_get(void); /* those that hold */

/* While /proc is the host's: what limits_child will set, which is never more than the caller of the agent
 * has. */
bool limits_prepare(struct confine_error *e);

int limits_child(const struct sandbox *sandbox); /* between clone and exec: raw calls only; 0 or -errno */

#endif
