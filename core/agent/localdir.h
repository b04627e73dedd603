/* The private directory of a local sandbox on the host: made, locked, and removed by the keeper, so that a
 client killed at any moment leaves none behind. Whether a sandbox lives is told by the shared flock on its
 directory.
 *
 *     main, before keeper_split:  localdir_make, and when detached localdir_listen, whose socket takes the
 place of LOCAL_FD_ENDPOINT
 *     the serving process:        localdir_leave, first of all
 *     the keeper, client's end:   a detached sandbox goes on when localdir_committed
 *     the keeper, at its end:     localdir_remove, after the serving process has been reaped
 */
#ifndef AGENT_LOCALDIR_H
#define AGENT_LOCALDIR_H

#include <stdbool.h>

#include "agent/confine.h"

bool localdir_make(const char *path, struct confine_error *e);
int localdir_listen(struct confine_error *e); /* -1 with *e set; non-blocking, closed on exec */
bool localdir_committed(void);                /* the client has written LOCAL_RECORD: creation is complete */
void localdir_leave(void);
void localdir_remove(void); /* no effect when none was made, or after localdir_leave */

#endif
