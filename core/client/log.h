/* Structured events to the caller's hook. Never a secret, a command, a path or file contents. */
#ifndef CLIENT_LOG_H
#define CLIENT_LOG_H

#include "hfsandbox/hfsandbox.h"

struct sbx_client;

/* The program is ending: what a hook needs may be gone, so none is called any more. */
void log_silence(void);

/* Then pairs of strings (name, value), ended by NULL: log_event(client, SBX_LOG_INFO, "sandbox.created",
 * "id", id, NULL). Lock held. */
void log_event(struct sbx_client *client, sbx_log_level level, const char *event, ...)
    __attribute__((sentinel));

#endif
