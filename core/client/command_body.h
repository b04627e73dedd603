/* A command as the JSON that exec and processes take. */
#ifndef CLIENT_COMMAND_BODY_H
#define CLIENT_COMMAND_BODY_H

#include "client/error.h"
#include "util/buf.h"

struct command_body {
    struct buf json;
    bool feed; /* the input is not in it: it is to be written on the stdin route */
};

/* Checks the command (complete, see error_options) and writes it for a peer with these endpoint features.
   running: sbx_run, which takes no input_open. Needs no lock. On failure there is nothing to free. */
sbx_status command_body_make(struct command_body *out, const sbx_command *command, unsigned features,
                             bool running, const char *function, sbx_error *err);

#endif
