/* Directories and files of the host that the caller asked for, made visible in the sandbox's root. */
#ifndef AGENT_BINDS_H
#define AGENT_BINDS_H

#include "agent/confine.h"

/* By the keeper, before the namespaces: checks the targets; as root, whose sandbox has a uid of its own,
   opens the sources through mounts that swap their owner with that uid, so that what is written inside
   belongs to the directory's owner outside. */
bool binds_prepare(const struct confine_config *c, struct confine_error *e);
void binds_forget(void); /* the keeper's copies */

/* By the serving process, before it changes its uid: opens what is left. */
bool binds_open(const struct confine_config *c, struct confine_error *e);

/* Attaches them below the directory root, making what is missing of the targets. */
bool binds_attach(const struct confine_config *c, int root, struct confine_error *e);

/* Levels without a file system of its own: a bind can only be the right to a path of the host. */
bool binds_same(const struct confine_config *c, struct confine_error *e);

bool binds_writable(const struct confine_config *c);

#endif
