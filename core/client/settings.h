/* What the environment says about the Hub, by the rules of the Hub's own client. An empty variable counts as
 * one that is not set. */
#ifndef CLIENT_SETTINGS_H
#define CLIENT_SETTINGS_H

#include <stdbool.h>

#include "hfsandbox/hfsandbox.h"

const char *settings_text(const char *variable); /* NULL = not set */
bool settings_true(const char *variable);        /* 1, ON, YES or TRUE in any case */

/* The Hub's address without a slash at its end: the option (NULL = not given), $HF_ENDPOINT, the staging Hub
   with $HUGGINGFACE_CO_STAGING, the Hub. The token is sent there: so plain http is for this machine alone,
   unless $HFSANDBOX_ALLOW_HTTP is true. *out is the caller's. */
sbx_status settings_endpoint(char **out, const char *option, sbx_error *err);

bool settings_offline(void);
bool settings_telemetry(void); /* false by any of its switches, and offline */

/* Both are the caller's; NULL = too long, no memory, or "~" and no home directory is known. */
char *settings_hf_home(void);            /* where the Hub's client keeps its files */
char *settings_expand(const char *path); /* a leading "~" or "~/", $NAME and ${NAME}; unknown names stay */

#endif
