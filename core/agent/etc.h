/* The files of /etc that a local sandbox gets instead of the host's. */
#ifndef AGENT_ETC_H
#define AGENT_ETC_H

#include "agent/confine.h"

/* Writes them below the working directory, which is the new root. The host's /etc is still at its place. */
bool etc_write(const struct confine_config *c, struct confine_error *e);

#endif
