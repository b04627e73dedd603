/* Landlock: what the file system, sockets and signals look like to the serving process and all its commands.
 */
#ifndef AGENT_LANDLOCK_H
#define AGENT_LANDLOCK_H

#include "agent/confine.h"

#define LANDLOCK_NR_RESTRICT 446 /* landlock_restrict_self, on every architecture */
#define LANDLOCK_ABI_SCOPE   6   /* from here on: abstract sockets and signals of others are out of reach */

int landlock_abi(void); /* 0: this kernel has none */

/* Restricts the calling process for good; no_new_privs must be set. home and tmp only at level landlock. */
bool landlock_apply(const struct confine_config *c, const char *home, const char *tmp,
                    struct confine_error *e);

/* A ruleset for one of many sandboxes that share a machine: the system's files to read and run, its home to
   change, no TCP port to listen on. -1 with errno. */
int landlock_tenant(int home);

#endif
