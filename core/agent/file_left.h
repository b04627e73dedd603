/* Files of writes in parts that nobody finishes: each is looked at every TIMEOUT_PARTS, and removed when
   nothing has been written to it meanwhile. Loop only. */
#ifndef AGENT_FILE_LEFT_H
#define AGENT_FILE_LEFT_H

void file_left_watch(int directory, const char *name); /* takes the descriptor over */

#endif
