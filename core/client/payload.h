/* The agents that travel with job requests, for one sandbox and for many, as the build encoded them: always
   the uninstrumented static programs, whatever the library was built with. */
#ifndef CLIENT_PAYLOAD_H
#define CLIENT_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>

struct payload {
    const char *arch;    /* as uname -m says it: "x86_64", "aarch64" */
    bool host;           /* the one that carries many sandboxes */
    const char *text;    /* base64 of gzip of the program, in one line; ends with a NUL */
    size_t length;       /* of text */
    size_t program_size; /* in bytes, decoded */
    const char *sha256;  /* of the program, 64 lower-case hexadecimal digits */
};

extern const struct payload payload_table[]; /* ends with an arch NULL */

/* NULL: this build carries none for that architecture. */
const struct payload *payload_find(const char *arch, bool host);

#endif
