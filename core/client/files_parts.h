/* A large file on its way to a sandbox that is far away: in parts, over several connections, into an
   unfinished file beside its place, which then takes the place (core/wire/README.md, feature parts). */
#ifndef CLIENT_FILES_PARTS_H
#define CLIENT_FILES_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/files.h"

struct parts;
struct request_reply;

struct part { /* of one stream */
    struct parts *parts;
    uint64_t from, at, end;
    unsigned tries;
};

struct parts {
    struct op *op;
    const char *target;    /* files/write, with the whole query */
    const char *condition; /* a header line; NULL = none */
    uint64_t len;
    const char *data; /* or, when that is NULL, as in transfer.h: */
    size_t (*read)(void *ctx, char *into, size_t len, uint64_t at);
    /* One of the two, once; nothing works for it any more. A lost unfinished file is SBX_ERROR_CONNECTION. */
    void (*done)(struct op *op, struct request_reply *reply, void *ctx);
    void (*failed)(struct op *op, const sbx_error *error, void *ctx);
    void *ctx;
    /* files_parts.c's own */
    struct part streams[FILES_STREAMS];
    uint64_t next; /* the first byte that no stream has */
    size_t busy;   /* streams */
    char name[25]; /* of the unfinished file; "" = there is none */
};

/* Whether it pays for so many bytes. */
bool parts_pay(const sbx_sandbox *sandbox, uint64_t len);
void parts_start(struct parts *p);
void parts_end(struct parts *p); /* the op has ended: removes what is unfinished, in the background */

#endif
