/* Makes a job with a sandbox in it and waits until that answers. */
#ifndef CLIENT_JOB_CREATE_H
#define CLIENT_JOB_CREATE_H

#include "client/job_request.h"
#include "client/jobs.h"

void job_create(struct op *op, const sbx_sandbox_options *options); /* as provider.h's create */
/* A host of a pool, which belongs to nobody here: the handle is that of its agent. *host is copied, but for
   its texts, which outlive the op. */
void job_create_host(struct op *op, const sbx_sandbox_options *options, const struct job_host_settings *host);

#endif
