/* What still has to be done when the caller has let go: counted per client, and for the whole program, so
   that the client's end and the program's wait for it, for a bounded time. Lock held, but parting_at_exit. */
#ifndef CLIENT_PARTING_H
#define CLIENT_PARTING_H

#include <stdbool.h>

struct sbx_client;

enum parting_kind {
    PARTING_KILL, /* commands that are to be killed: waited for 2 seconds */
    PARTING_JOB,  /* machines that are to be ended: 5 seconds */
    PARTING_NEWS, /* telemetry: 300 milliseconds */
    PARTING_KINDS,
};

/* Somebody drives until parting_end. False: the thread for that cannot be started; nothing was counted. */
bool parting_begin(struct sbx_client *client, enum parting_kind kind);
void parting_end(struct sbx_client *client,
                 enum parting_kind kind); /* may free the client: hold it, or be done */

/* parting_end in two steps: from now on nobody's end waits for it, but somebody still drives; and then its
 * own end. */
void parting_let_be(struct sbx_client *client, enum parting_kind kind);
void parting_over(struct sbx_client *client);

void parting_wait(struct sbx_client *client);

/* Calls hook at the program's normal end, before what is under way is waited for, and last when nothing more
 * is. */
void parting_at_exit(void (*hook)(void), void (*last)(void));

#endif
