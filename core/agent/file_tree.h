/* DELETE files/delete, POST files/mkdir, POST files/rename. */
#ifndef AGENT_FILE_TREE_H
#define AGENT_FILE_TREE_H

#include "agent/conn.h"

void file_tree_delete(struct exchange *x);
void file_tree_mkdir(struct exchange *x);
void file_tree_rename(struct exchange *x);

#endif
