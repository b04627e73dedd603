/* Where connections come from: a TCP port, a listening socket that was inherited, or a control socket on
   which connected sockets arrive. */
#ifndef AGENT_SERVE_H
#define AGENT_SERVE_H

#include <stdbool.h>

/* Each returns false with errno set. */
bool serve_port(int port);   /* all addresses, IPv6 and IPv4 */
bool serve_listener(int fd); /* a listening stream socket */
bool serve_control(int fd);  /* SOCK_SEQPACKET; its end is the end of the agent */
void serve_stop(void);

#endif
