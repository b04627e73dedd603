/* Makes a job with a sandbox in it and waits until that answers. */
#ifndef CLIENT_JOB_CREATE_H
#define CLIENT_JOB_CREATE_H

#include "client/jobs.h"

void job_create(struct op *op, const sbx_sandbox_options *options); /* as provider.h's create */

#endif
