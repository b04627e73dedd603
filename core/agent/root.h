/* The root of a local sandbox: a small file system of its own in memory, with read-only views of what
   programs need of the host and nothing else of it. */
#ifndef AGENT_ROOT_H
#define AGENT_ROOT_H

#include "agent/confine.h"

#define ROOT_HOME "/home/sandbox"

/* Where commands may write, besides binds: all in one file system of the size asked for. Ended by NULL. */
extern const char *const root_writable[];

/* What of /etc is the host's own. Ended by NULL. */
extern const char *const root_etc[];

/* By the sandbox's user with capabilities over its namespaces. */
bool root_build(const struct confine_config *c, uint64_t disk, struct confine_error *e);

#endif
