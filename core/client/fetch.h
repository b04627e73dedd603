/* Reads a file of the sandbox to its end. A lost connection is taken up where it broke as long as the file is
   the same; a file that has changed meanwhile, or a peer that cannot say, begins again. */
#ifndef CLIENT_FETCH_H
#define CLIENT_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/op.h"

struct fetch {
    struct op *op;
    char *path;              /* freed by fetch_free */
    uint64_t offset, length; /* length 0 = to the end */
    uint64_t max;            /* more bytes fail the op with SBX_ERROR_TOO_LARGE */
    const char *too_large;   /* the remedy, ends that error's text */
    int64_t silence_ms;      /* as in request.h */
    /* Where the bytes go. Each false: the op has been ended. */
    bool (*expect)(struct fetch *f, uint64_t size); /* how many will come in all; may be NULL */
    bool (*take)(struct fetch *f, const char *data, size_t len, uint64_t at); /* at: counted from offset */
    bool (*restart)(struct fetch *f);                                         /* forget what came */
    void (*done)(struct fetch *f);                                            /* complete: ends the op */
    void *ctx;
    /* fetch.c's own */
    uint64_t got, got_before;
    unsigned fruitless, restarts;
    char etag[112];
};

void fetch_start(struct fetch *f);
void fetch_free(struct fetch *f);

#endif
