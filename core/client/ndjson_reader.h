/* The events of a peer that speaks NDJSON, from bytes in any pieces. Pure. Offsets are counted here, so they
   count the bytes of the text that the peer made of the output. */
#ifndef CLIENT_NDJSON_READER_H
#define CLIENT_NDJSON_READER_H

#include "client/stream_event.h"

#define NDJSON_LINE_MAX (8 * 1024 * 1024)

struct ndjson_reader {
    struct buf line; /* the beginning of one whose end has not come */
    struct buf text; /* the unescaped output of the last event */
    uint64_t offset[2];
};

void ndjson_reader_init(struct ndjson_reader *reader);
void ndjson_reader_free(struct ndjson_reader *reader);

/* Takes from the front of *data. */
enum stream_read ndjson_reader_next(struct ndjson_reader *reader, const char **data, size_t *len,
                                    struct stream_event *out);

#endif
