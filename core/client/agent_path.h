/* Where the agent's program is. */
#ifndef CLIENT_AGENT_PATH_H
#define CLIENT_AGENT_PATH_H

#include "hfsandbox/hfsandbox.h"

/* *out is the caller's. option (may be NULL) and $HFSANDBOX_AGENT are taken as they are or refused; otherwise
   the first that exists of: beside the library, ../bin, ../libexec/hfsandbox, the libexec directory of the
   installation. */
sbx_status agent_path_find(char **out, const char *option, sbx_error *err);

/* "the agent /path (named by HFSANDBOX_AGENT)", for errors. */
void agent_path_say(char *out, size_t size, const char *option);

#endif
