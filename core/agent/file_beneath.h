/* Paths of a sandbox of host mode: whatever stands in its home, they lead nowhere else. Called by file_path.c
 * and, for the last one, proxy_host.c alone. */
#ifndef AGENT_FILE_BENEATH_H
#define AGENT_FILE_BENEATH_H

#include "agent/file_path.h"

struct tenant;

bool file_beneath_init(struct file_path *p, const char *bytes,
                       size_t len); /* p->sandbox is set; false: no memory */
int file_beneath_resolve(const struct tenant *t, int at, const char *path, int flags);
int file_beneath_target(const struct file_path *p, bool make, char name[FILE_NAME_SIZE]);
int file_beneath_exactly(const struct tenant *t, const char *path); /* O_PATH, of what no link leads to */

#endif
