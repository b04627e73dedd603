/* How a port of a sandbox of host mode is reached: a sandbox opens no TCP port there. */
#ifndef AGENT_PROXY_HOST_H
#define AGENT_PROXY_HOST_H

#include "agent/handle_proxy.h"

/* Begins to connect to what listens for p->port in the sandbox of p->x: p->fd and p->backend are set later,
   or it fails. True, but without memory. */
bool proxy_host_connect(struct proxy *p);

#endif
