/* A volume of a job, from the form that the Hub's command line has. Pure. */
#ifndef CLIENT_VOLUME_H
#define CLIENT_VOLUME_H

#include <stdbool.h>

#include "hfsandbox/hfsandbox.h"
#include "util/buf.h"

/* "hf://[buckets|models|datasets|spaces/]OWNER/NAME[@REV][/PATH]:/MOUNT[:ro|:rw]" as the object that the Hub
   takes, appended to out. Without a type it is a model. The mount begins at the last ":/". Repositories are
   always read-only; buckets have no revision. False: nothing was appended. */
bool volume_json(struct buf *out, const char *text, sbx_error *err);

#endif
