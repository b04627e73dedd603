/* The records of detached sandboxes: one directory per sandbox below the runtime directory of this user, made
   and removed by its keeper (core/wire/README.md, "The local agent"). */
#ifndef CLIENT_RECORD_H
#define CLIENT_RECORD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/label.h"
#include "hfsandbox/hfsandbox.h"

#define RECORD_ID_SIZE 19 /* "local-", 12 hex digits and the NUL */

#define RECORD_ENDED "sandbox %s has ended; only its record is left"

struct record {
    char id[RECORD_ID_SIZE];
    char token[65];
    char version[32];
    pid_t pid;           /* of the keeper, as the process that created it saw it */
    uint64_t start_time; /* of the keeper: tells it from a later process with its number */
    int64_t created_at_ms;
    char pool[LABEL_MAX + 1]; /* "" = none */
};

bool record_new_id(char id[RECORD_ID_SIZE]); /* false: no random numbers */
bool record_id_ok(const char *id); /* the form alone; ids come from outside and become parts of paths */

/* The runtime directory: option, $XDG_RUNTIME_DIR/hfsandbox, or /tmp/hfsandbox-<uid>, made with mode 0700
   (root: 0711) where it is missing. One that another user owns or may enter is refused. *path is the caller's
   (absolute), the descriptor too; -1 with *err. */
int record_runtime(char **path, const char *option, sbx_error *err);
const char *record_runtime_ignored(const char *option); /* why $XDG_RUNTIME_DIR is not taken; NULL: it is not
                                                           set, or taken, or need not be */

/* The directory of one sandbox. NOT_FOUND when there is none. */
int record_open(int runtime, const char *id, sbx_error *err);

sbx_status record_write(int dir, const struct record *record, sbx_error *err); /* whole or not at all */
sbx_status record_read(int dir, const char *id, struct record *record, sbx_error *err);

/* The keeper as a pidfd; -1 when it does not run, or cannot be seen from here. With pid 0 (there is no
   record) or another's number it is found by its socket, and pid is set. */
int record_keeper(int dir, struct record *record);
uint64_t record_start_time(pid_t pid); /* 0 = no such process */
int64_t record_made_ms(int dir);       /* when the socket was made, which nothing changes later */

bool record_alive(int dir); /* its keeper holds its lock, in whatever pid namespace it is */

/* Removes the directory of a sandbox that does not live; false when it lives, or somebody else cleans it now.
 */
bool record_clean(int runtime, const char *id);

#endif
