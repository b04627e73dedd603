/* The start of a local agent: its configuration, its confinement, and the one line that tells the client how
 * it went. */
#ifndef AGENT_LOCAL_START_H
#define AGENT_LOCAL_START_H

#include <stdbool.h>

/* Reads the configuration into `agent`, splits off the keeper and confines the process that returns. Whatever
   fails is reported to the client, and the process exits. */
void local_start_confined(void);

/* Serves the endpoint and says that it is ready. Likewise exits when that fails. */
void local_start_serve(void);

#endif
