/* PUT files/write. */
#ifndef AGENT_FILE_WRITE_H
#define AGENT_FILE_WRITE_H

#include "agent/conn.h"

void file_write_start(struct exchange *x);

#endif
