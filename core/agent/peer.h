/* Who is at the other end of a connection to the agent's port: the sandboxes of a host have no business
 * there. */
#ifndef AGENT_PEER_H
#define AGENT_PEER_H

#include <stdbool.h>

#include "agent/confine.h"

/* A step of confine_host.c: what asks the kernel is opened, before the filter that refuses it. c is not used.
 */
bool peer_init(const struct confine_config *c, struct confine_error *e);

/* As conn_open, for a connection that was accepted; it is closed (false) when a sandbox of this machine made
   it, or somebody in this machine who cannot be told any more. Without peer_init everybody is served. */
bool peer_open(int fd);

#endif
