/* Input that was given with a command and is too large to travel with its start. Lock held. */
#ifndef CLIENT_FEEDER_H
#define CLIENT_FEEDER_H

#include "client/error.h"

struct feeder;
struct sbx_sandbox;

/* Writes data as the first len bytes of the command's input, then closes it if eof. data is borrowed until
   the end. on_end: once, unless feeder_stop came first; error NULL = all of it was taken. NULL: no memory. */
struct feeder *feeder_start(struct sbx_sandbox *sandbox, const char *id, const void *data, size_t len,
                            bool eof, void (*on_end)(void *ctx, const sbx_error *error), void *ctx);
void feeder_stop(struct feeder *feeder);

#endif
