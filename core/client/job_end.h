/* Canceling jobs that nobody waits for, in the background. Lock held. */
#ifndef CLIENT_JOB_END_H
#define CLIENT_JOB_END_H

#include "client/jobs.h"

/* Cancels a machine of this client; reason: "user" or "atexit", for telemetry. Its owner may free it at once.
 */
void job_end_machine(struct job_machine *m, const char *reason);

/* Cancels a job by its id. */
void job_end_id(struct jobs *jobs, const char *hub_namespace, const char *id);

/* A creation that has been sent was given up: its answer is waited for, or what it may have made is looked
   for by its nonce. call NULL: the answer is lost already. used: the id of a job with that nonce that stays,
   or
   "". */
void job_end_creation(struct jobs *jobs, const char *hub_namespace, const char *nonce, const char *used,
                      struct hub_call *call);

#endif
