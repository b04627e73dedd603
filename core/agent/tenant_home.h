/* Where the homes of host mode's sandboxes are. */
#ifndef AGENT_TENANT_HOME_H
#define AGENT_TENANT_HOME_H

#include <stdbool.h>
#include <sys/types.h>

/* Makes the directory and takes it for this agent alone; what a former one left in it is removed. False: said
 * why. */
bool tenant_home_init(const char *directory);
char *tenant_home_path(const char *id); /* for free(); NULL: no memory */

/* These two block: workers only. 0 or an errno. */
int tenant_home_make(const char *id, uid_t owner, int *home);
int tenant_home_remove(const char *id);

/* Removes what a user has left among the shared memory of the machine. */
int tenant_home_sweep(uid_t uid);

#endif
