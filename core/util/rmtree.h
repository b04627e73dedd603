/* Empties a directory that may have been filled by somebody hostile. */
#ifndef UTIL_RMTREE_H
#define UTIL_RMTREE_H

#include <stdbool.h>

/* Removes everything below the directory dir_fd; follows no symbolic link, and needs memory and descriptors
   for two levels only, however deep the tree is. False with errno when something stays. */
bool rmtree_contents(int dir_fd);

#endif
