/* SIGINT, SIGTERM and SIGHUP as something to wait for: the first asks for an orderly end, a second one for a
   quick one, a third ends at once (whatever is attached to this process ends with it). Those that come within
   half a second count as one: timeout(1), for example, sends its signal twice. */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

#include <stdbool.h>

bool signals_install(void); /* false: errno */
int signals_fd(void);       /* readable after each that counts, until signals_drain */
void signals_drain(void);
bool signals_again(void);   /* a second one has come */
void signals_forget(void);  /* it was somebody else's */
int signals_received(void); /* the first one, 0 = none */
void signals_end(void);     /* ends this process by the signal received, if any */

#endif
