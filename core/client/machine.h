/* One local sandbox as its client sees it: the keeper's process from its start to its confirmed end.
   Everything here needs the client's lock, but the orphans. */
#ifndef CLIENT_MACHINE_H
#define CLIENT_MACHINE_H

#include <stdbool.h>

#include "client/client.h"
#include "client/local_spawn.h"
#include "client/op.h"
#include "client/record.h"
#include "client/sandbox.h"
#include "util/buf.h"

struct machine;

struct machine_kill { /* a call that waits for the end; embedded in the caller's */
    struct machine *machine;
    struct op *op;
    struct machine_kill *next;
};

struct machine {
    struct machine *next, *prev; /* in the client's list, which is its provider_data */
    struct sbx_client *client;
    struct sbx_sandbox *sandbox; /* NULL while it is made, and once its handle was given back */
    struct op *creating;         /* NULL once it is made */
    struct machine_kill *kills;
    struct record record;
    bool detached;
    bool pooled;   /* ends with its handle, though it has a record (local_pool.h) */
    char *runtime; /* the runtime directory, when the sandbox has a directory in it; else NULL */
    int dir;       /* that directory of a detached sandbox, once it is made; else -1 */
    struct local_child child;
    bool ended;        /* confirmed */
    bool cleaning;     /* what it left is being removed: it frees itself afterwards if nobody holds it then */
    bool background;   /* counted by io_background: nobody waits for its end, but it must come */
    sbx_error failure; /* code != 0: why creating fails, as soon as the keeper has ended */
    struct buf line;   /* of the status descriptor */
    struct io_watch ended_watch, status_watch;
    struct io_timer grace;
};

struct machines {
    struct machine *first;
};

struct machine *machine_new(struct sbx_client *client); /* NULL: no memory */
void machine_free(struct machine *machine);             /* one that was never started, or has ended */

/* Starts the keeper, and later ends machine->creating by itself. On failure nothing runs. */
sbx_status machine_start(struct machine *machine, const char *agent, const struct buf *config,
                         sbx_error *err);

/* Makes the handle; for a detached one its record and dir must be there. */
struct sbx_sandbox *machine_sandbox(struct machine *machine, unsigned features, sbx_error *err);

bool machine_watch(
    struct machine *machine); /* notices the keeper's end from now on; machine_start does it itself */

/* SIGTERM now, SIGKILL after a grace; `kill` (may be NULL) is done when the end is confirmed. Its op's end
   hook must call machine_kill_forget. */
void machine_kill(struct machine *machine, struct machine_kill *kill);
void machine_kill_forget(struct machine_kill *kill);
void machine_confirmed(struct machine *machine, int how); /* the end is known: tells everyone; may free it */

/* Nobody holds it any more. abandon: ends it, waits a few milliseconds for that and leaves the rest to the
   background. let_go: leaves it running, and sees to it that a child of this process is reaped. Both free it,
   now or later. */
void machine_abandon(struct machine *machine);
void machine_let_go(struct machine *machine);

void machine_look(struct sbx_client *client); /* notices what has ended while nobody drove the client */

/* Keepers of detached sandboxes that outlive the client that started them are still children of this process:
   each call reaps those that have ended. pidfd is taken over; -1 = none to add. No lock is needed. */
void machine_orphan(int pidfd);

#endif
