/* SIGINT, SIGTERM and SIGHUP as something to wait for: the first asks for an orderly end, one that comes more
   than a second later ends at once (whatever is attached to this process ends with it). */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

#include <stdbool.h>

bool signals_install(void); /* false: errno */
int signals_fd(void);       /* readable from the first signal on */
int signals_received(void); /* the first one, 0 = none */
void signals_end(void);     /* ends this process by the signal received, if any */

#endif
