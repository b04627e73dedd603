/* The Hub token: where it is looked for, and what may be one. */
#ifndef CLIENT_TOKEN_H
#define CLIENT_TOKEN_H

#include "hfsandbox/hfsandbox.h"

/* The option (NULL = not given; taken as it is or refused); then, unless $HF_HUB_DISABLE_IMPLICIT_TOKEN is
   true, the first that gives one of $HF_TOKEN, $HUGGING_FACE_HUB_TOKEN and the file at $HF_TOKEN_PATH, by
   default "token" in settings_hf_home. *out goes to token_free, *source (may be NULL) is a static text for
   messages: "the option hub_token", "HF_TOKEN". None is SBX_ERROR_AUTH, one that can be none
   SBX_ERROR_INVALID. */
sbx_status token_find(char **out, const char **source, const char *option, sbx_error *err);

void token_free(char *token); /* wipes it; NULL does nothing */

#endif
