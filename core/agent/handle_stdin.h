/* PUT processes/{id}/stdin. */
#ifndef AGENT_HANDLE_STDIN_H
#define AGENT_HANDLE_STDIN_H

#include "agent/conn.h"

void handle_stdin(struct exchange *x);

#endif
