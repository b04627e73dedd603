/* What the Hub says besides its answer: when to come again, where the next page is, and what went wrong.
 * Pure. */
#ifndef CLIENT_HUB_ERROR_H
#define CLIENT_HUB_ERROR_H

#include <stddef.h>
#include <stdint.h>

#include "client/error.h"

struct hub_hints {    /* from an answer's head */
    int64_t retry_ms; /* -1 = it does not say */
    int64_t reset_ms; /* of the rate limit, for 429; -1 = it does not say */
    int64_t date_ms;  /* the Hub's clock, in whole seconds since 1970; 0 = it does not say */
    char *next;       /* target of the next page, at the same Hub; NULL = none */
    char message[256], request_id[64];
};

void hub_hints_clear(struct hub_hints *hints); /* also the first time, of zeroed ones */
/* url: of the Hub, so that no link leads elsewhere. */
void hub_hints_take(struct hub_hints *hints, const char *url, const char *name, size_t name_len,
                    const char *value, size_t len);

/* secrets: never repeated in the message; NULL-terminated. name and what begin it. */
void hub_error_reply(sbx_error *error, const char *name, const char *what, int http_status,
                     struct hub_hints *hints, const char *body, size_t len, const char *const *secrets);
void hub_error_lost(sbx_error *error, const char *name, const char *what, const sbx_error *cause);

/* Replaces every occurrence of a secret (at least 4 bytes) in text, in place, by asterisks, and what is left
 * of one where the text was cut. */
void hub_error_redact(char *text, const char *const *secrets);

#endif
