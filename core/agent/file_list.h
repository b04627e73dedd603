/* GET files/list. */
#ifndef AGENT_FILE_LIST_H
#define AGENT_FILE_LIST_H

#include "agent/conn.h"

void file_list_start(struct exchange *x);

#endif
