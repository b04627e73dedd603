/* Two events that tell the Hub that its Jobs are used through this library: a creation, an end. In the
   background: nothing waits for them, and what goes wrong is nobody's concern. Lock held. */
#ifndef CLIENT_TELEMETRY_H
#define CLIENT_TELEMETRY_H

#include <stdbool.h>
#include <stdint.h>

struct sbx_client;

/* session: random, of this sandbox alone. */
/* Whether anything is told at all. */
bool telemetry_wanted(const struct sbx_client *client);

void telemetry_create(struct sbx_client *client, const char *session, const char *flavor, int64_t lifetime_s,
                      bool forward_hf_token);
void telemetry_terminate(struct sbx_client *client, const char *session, int64_t duration_ms,
                         const char *reason);

#endif
