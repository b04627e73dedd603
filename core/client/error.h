/* Filling the caller's sbx_error, and turning a peer's error answer into one. */
#ifndef CLIENT_ERROR_H
#define CLIENT_ERROR_H

#include <stdbool.h>
#include <stddef.h>

#include "hfsandbox/hfsandbox.h"

/* Each fills *err (NULL is fine) and returns code, so that a function can end with `return error_set(...)`.
   Control characters in the message become '?': it is one line. */
sbx_status error_set(sbx_error *err, sbx_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
sbx_status error_system(sbx_error *err, int error_number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
sbx_status error_memory(sbx_error *err);
sbx_status error_copy(sbx_error *err, const sbx_error *from); /* returns from->code */

/* From a peer's answer with an error status. what: "stat of a file", begins the message. */
sbx_status error_from_reply(sbx_error *err, const char *what, int http_status, const char *body, size_t len);

/* Checks an options struct: size is at least `least` (through the first field that mattered in the first
   version), and what a newer caller put beyond ours is zero. Copies what is there into ours, which is zeroed
   first. given NULL = all defaults. */
sbx_status error_options(void *ours, size_t ours_size, const void *given, size_t least, const char *name,
                         sbx_error *err);
#define OPTIONS_COPY(ours, given, first, name, err)                                                          \
    error_options((ours), sizeof *(ours), (given), offsetof(__typeof__(*(ours)), first), (name), (err))

#endif
