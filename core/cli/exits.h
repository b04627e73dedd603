/* The exit codes of the command. Those of the commands it runs are passed on as they are. */
#ifndef CLI_EXITS_H
#define CLI_EXITS_H

#define EXITS_TIMEOUT        124 /* a deadline that the caller gave has passed */
#define EXITS_FAILED         125 /* hfsandbox itself failed, wrong usage included */
#define EXITS_NOT_EXECUTABLE 126 /* the command was found and cannot be executed */
#define EXITS_NOT_FOUND      127 /* there is no such command */
#define EXITS_SIGNAL         128 /* plus the number of the signal that ended it */

#endif
