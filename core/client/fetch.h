/* Reads a file of the sandbox to its end: in one stream, or from a sandbox that is far away over several. A
   lost connection is taken up where it broke as long as the file is the same; a file that has changed
   meanwhile, or a peer that cannot say, begins again. */
#ifndef CLIENT_FETCH_H
#define CLIENT_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/files.h"
#include "client/op.h"

struct fetch_range { /* one stream's part, counted from the fetch's offset */
    struct fetch *fetch;
    uint64_t at,
        end; /* the next byte, the first one that is not wanted; UINT64_MAX = to the end of the file */
    uint64_t at_before; /* when it was last asked for */
    unsigned fruitless;
    bool busy; /* a request for it is under way */
};

struct fetch {
    struct op *op;
    char *path;              /* freed by fetch_free */
    uint64_t offset, length; /* length 0 = to the end */
    uint64_t max;            /* more bytes fail the op with SBX_ERROR_TOO_LARGE */
    const char *too_large;   /* the remedy, ends that error's text */
    int64_t silence_ms;      /* as in request.h */
    /* Where the bytes go; `at` is counted from offset. Each false: the op has been ended. */
    bool (*expect)(struct fetch *f, uint64_t size); /* how many will come in all; may be NULL */
    /* In any order once expect has said how many, else one behind the other. */
    bool (*take)(struct fetch *f, const char *data, size_t len, uint64_t at);
    bool (*restart)(struct fetch *f); /* forget what came */
    void (*done)(struct fetch *f);    /* complete: ends the op */
    void *ctx;
    /* fetch.c's own */
    struct fetch_range ranges[FILES_STREAMS];
    uint64_t next, size; /* the first byte that no stream has, of so many */
    size_t busy;         /* streams */
    unsigned restarts;
    bool one_stream, began;
    char etag[112];
};

void fetch_start(struct fetch *f);
void fetch_free(struct fetch *f);

#endif
