/* The steps of host mode, taken once by the agent, and what each sandbox and each of its commands takes on.
 */
#ifndef AGENT_CONFINE_HOST_H
#define AGENT_CONFINE_HOST_H

#include "agent/confine.h"

#define CONFINE_HOST_FILES 4096 /* open at once, of each process */

/* Run before any thread. weaker: without Landlock of the version that is asked for, go on with user ids
 * alone; and without what tells whose a connection to the agent is, serve everybody who shows a token. */
bool confine_host(int least_abi, bool weaker, struct confine_error *e);

/* "landlock" or "uid-only", as sandboxes report it. */
const char *confine_host_name(void);

/* A Landlock ruleset for the sandbox whose home this is; *ruleset is -1 where there is none. 0 or an errno.
 * Any thread. */
int confine_host_domain(int home, int *ruleset);

#endif
