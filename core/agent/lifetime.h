/* How long the agent lives: until nothing has happened for the idle time, until a signal, or until
 * agent_shutdown. */
#ifndef AGENT_LIFETIME_H
#define AGENT_LIFETIME_H

#include <stdbool.h>

/* Watches for SIGTERM and SIGINT and starts the idle timer. Call when the loop is there and before any
 * process is started. */
bool lifetime_init(void);

#endif
