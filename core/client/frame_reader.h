/* Binary frames (wire/frame.h) from bytes in any pieces. Pure. */
#ifndef CLIENT_FRAME_READER_H
#define CLIENT_FRAME_READER_H

#include "client/stream_event.h"
#include "wire/frame.h"

struct frame_reader {
    unsigned char header[FRAME_HEADER];
    size_t header_len; /* FRAME_HEADER: the header is complete and `frame` holds */
    struct frame frame;
    uint32_t taken;     /* of the payload */
    struct buf payload; /* of all but output, which is given piece by piece */
};

void frame_reader_init(struct frame_reader *reader);
void frame_reader_free(struct frame_reader *reader);

/* Takes from the front of *data. */
enum stream_read frame_reader_next(struct frame_reader *reader, const char **data, size_t *len,
                                   struct stream_event *out);

#endif
