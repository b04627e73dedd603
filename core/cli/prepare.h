/* From options to what the library takes. What is filled in points into the options. */
#ifndef CLI_PREPARE_H
#define CLI_PREPARE_H

#include "options.h"
#include "session.h"

/* False: said why. free() *argv afterwards. */
bool prepare_command(sbx_command *out, const char ***argv, const struct options *options);
sbx_sandbox_options prepare_sandbox(const struct options *options, bool detached);

/* A new sandbox, in the pool of --pool if there is one; or NULL, said why. */
sbx_sandbox *prepare_create(struct session *s, const struct options *options, bool detached);

#endif
