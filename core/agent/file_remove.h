/* Removes a file or a tree, in slices, for a worker. Follows no symbolic link and enters no other mount.
   Needs a fixed number of descriptors and a few dozen bytes a level, however deep or wide the tree is. */
#ifndef AGENT_FILE_REMOVE_H
#define AGENT_FILE_REMOVE_H

#include <stdbool.h>
#include <stdint.h>

#include "util/buf.h"

struct file_remove;

struct file_remove *
file_remove_new(int directory, const char *name); /* NULL: no memory. The descriptor stays the caller's */

enum file_remove_result { FILE_REMOVED, FILE_REMOVE_MORE, FILE_REMOVE_FAILED };

/* Goes on until deadline_us (of clock_us). After a failure errno says why, and `left` gets the path, below
   the directory, of what could not be removed; everything else that is still there stays there. */
enum file_remove_result file_remove_some(struct file_remove *r, int64_t deadline_us, struct buf *left);

void file_remove_free(struct file_remove *r);

#endif
