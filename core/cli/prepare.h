/* From options to what the library takes. What is filled in points into the options. */
#ifndef CLI_PREPARE_H
#define CLI_PREPARE_H

#include "options.h"
#include "session.h"

/* False: said why. free() *argv afterwards. */
bool prepare_command(sbx_command *out, const char ***argv, const struct options *options);
sbx_sandbox_options prepare_sandbox(const struct options *options, bool detached);

/* A new sandbox, or NULL, said why. timeout_ms 0 = the library's. */
sbx_sandbox *prepare_create(struct session *s, const sbx_sandbox_options *options, int64_t timeout_ms);

#endif
