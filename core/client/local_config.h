/* From the caller's options to the configuration of a local agent (core/wire/README.md, "The local agent").
 */
#ifndef CLIENT_LOCAL_CONFIG_H
#define CLIENT_LOCAL_CONFIG_H

#include "hfsandbox/hfsandbox.h"
#include "util/buf.h"

/* What the options mean, with every default filled in and every value checked. */
struct local_config {
    const char *id, *token;
    const char *dir; /* NULL = none */
    const sbx_sandbox_options *options;
};

/* Refuses what cannot be meant, each with the value and the remedy. */
sbx_status local_config_check(const sbx_sandbox_options *options, sbx_error *err);

/* Level full keeps everything in memory; the others need a directory on the host for the sandbox's home, and
   detached ones for record and socket. */
int local_config_needs_dir(const sbx_sandbox_options *options);

sbx_status local_config_write(struct buf *out, const struct local_config *config, sbx_error *err);

#endif
