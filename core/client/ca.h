/* Which certificates TLS trusts. */
#ifndef CLIENT_CA_H
#define CLIENT_CA_H

#include "hfsandbox/hfsandbox.h"

/* The first of: the option (NULL = not given), $CURL_CA_BUNDLE, $SSL_CERT_FILE, each taken as it is or
   refused; built_in, what libcurl itself would take (NULL = nothing), where it exists; the places where
   systems keep theirs. *out is the one file that counts, the caller's; NULL = leave libcurl to itself. */
sbx_status ca_find(char **out, const char *option, const char *built_in, sbx_error *err);

#endif
