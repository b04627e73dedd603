/* GET and HEAD files/read. */
#ifndef AGENT_FILE_READ_H
#define AGENT_FILE_READ_H

#include "agent/conn.h"

void file_read_start(struct exchange *x);

#endif
