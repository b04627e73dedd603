/* The part of a local sandbox that stays outside: `hfsandbox-agent --local` makes the namespaces, starts the
   serving process in them as their pid 1, and then only watches: the client (its pidfd), the serving process,
   and signals. Whichever way it ends, all of the sandbox ends: the serving process dies with its parent, and
   the pid namespace with it; without one, whichever of the two lives longer kills the descendants. */
#ifndef AGENT_KEEPER_H
#define AGENT_KEEPER_H

#include "agent/confine.h"

/* First of all in a local agent: closes what a host program forgot to mark close-on-exec, keeps the
   descriptors of names.h from commands, and ends at once when the client is gone already. */
void keeper_begin(void);

/* Returns only in the serving process (pid 1 of the sandbox at level full); the keeper exits from inside with
   the status of the sandbox's end. */
void keeper_split(const struct confine_config *c, bool detached);

pid_t keeper_pid(void); /* as the client knows it; 0 before keeper_split */

/* Binds the life of the caller, the serving process, to the keeper's; to be repeated after a change of uid,
   which undoes it. False: the keeper is gone already. */
bool keeper_bind(void);

/* Once, when the serving process has its loop. Without a pid namespace to end all else, it does that itself
   at the keeper's end, instead of dying by its signal. False as above. */
bool keeper_follow(void);

#endif
