/* What the serving process gives up for good, and its commands with it. */
#ifndef AGENT_PRIVILEGES_H
#define AGENT_PRIVILEGES_H

#include "agent/confine.h"

bool privileges_keys(const struct confine_config *c,
                     struct confine_error *e); /* leaves the session key ring of the host */
bool privileges_no_new(const struct confine_config *c,
                       struct confine_error *e); /* exec never gives rights again */

/* By exec no capability can be had. Refused to an ordinary user, who has none to lose and, by no_new_privs,
 * none to gain. */
void privileges_bound(void);

bool privileges_drop(const struct confine_config *c, struct confine_error *e); /* every capability */

/* No process of the same uid may trace this one, or read its memory, environment and descriptors. Fails where
   commands have the capability to do it all the same. c is not used. */
bool privileges_hide(const struct confine_config *c, struct confine_error *e);

#endif
