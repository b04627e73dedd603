/* What transport.c tells transfer.c while libcurl works. */
#ifndef CLIENT_TRANSFER_STEP_H
#define CLIENT_TRANSFER_STEP_H

#include "client/transport.h"

/* A line of a head: status and length are what libcurl knows by now. False ends the transfer. */
bool transfer_step_header(struct transfer *t, const char *line, size_t len, int status, int64_t length);
enum transfer_flow transfer_step_data(struct transfer *t, const char *data, size_t len);
size_t transfer_step_read(struct transfer *t, char *into, size_t len);

/* After libcurl: ends what has ended, does what could not be done while it was on the stack. ctx: the
 * transport. */
void transfer_step_settle(void *ctx);

#endif
