/* The namespaces of a sandbox and the one user in them. */
#ifndef AGENT_NAMESPACES_H
#define AGENT_NAMESPACES_H

#include "agent/confine.h"

#define NAMESPACES_UID 1000 /* the only uid and gid inside */

/* Forks into new namespaces. Like fork: 0 in the child, which has every capability in them and no mapped uid
 * yet. -1 with *e set. */
pid_t namespaces_fork(const struct confine_config *c, int *pidfd, struct confine_error *e);

/* By the parent: maps NAMESPACES_UID to the uid outside. */
bool namespaces_map(pid_t child, struct confine_error *e);

/* The uid outside: an ordinary user's own. For root a high one that no account has, unique among the live
   sandboxes because it is made from the keeper's pid; never 0, since the files of /proc/sys obey uid 0
   without any capability. */
uid_t namespaces_outside(void);

/* By the child: becomes the sandbox's user; capabilities stay for the steps that follow. */
bool namespaces_identity(const struct confine_config *c, struct confine_error *e);

/* By the child: loopback up, host name set. */
bool namespaces_network(const struct confine_config *c, struct confine_error *e);

/* Why a call that needs a user namespace was refused, and what to change: fills *e. */
bool namespaces_explain(struct confine_error *e, const char *step, int error, const char *what);

/* The same for a new mount of /proc. */
bool namespaces_explain_proc(struct confine_error *e, int error);

#endif
