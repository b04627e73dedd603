/* The sandboxes of a namespace, and the end of those that nobody needs. As in provider.h. */
#ifndef CLIENT_JOB_LIST_H
#define CLIENT_JOB_LIST_H

#include "client/op.h"

void job_list(struct op *op, const sbx_filter *filter);
void job_list_reap(struct op *op, const sbx_filter *filter);

#endif
