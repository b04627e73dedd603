/* Binary frames: how process output travels between our client and our agent.
 *
 * A frame is a header of 16 bytes and then `length` bytes:
 *
 *     offset  size
 *          0     1  type (enum frame_type)
 *          1     3  zero
 *          4     4  length of the payload, little-endian, at most FRAME_MAX
 *          8     8  offset, little-endian: where the first byte of the payload stands in its stream;
 *                   FRAME_GAP: where the missing bytes begin; zero in the other types
 */
#ifndef WIRE_FRAME_H
#define WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER 16
#define FRAME_MAX    (256 * 1024)
#define FRAME_TYPE   "application/x-hfsandbox-frames" /* the media type, in Accept and Content-Type */

enum frame_type {
    FRAME_START = 1,  /* JSON {"id","pid","tag"}: always first */
    FRAME_STDOUT = 2, /* bytes */
    FRAME_STDERR = 3, /* bytes */
    FRAME_GAP = 4,    /* 9 bytes: the stream (FRAME_STDOUT or FRAME_STDERR) as one byte, then how many bytes were dropped as a
                         little-endian 64-bit number */
    FRAME_PING = 5,   /* nothing; after INTERVAL_PING of silence */
    FRAME_EXIT = 6,   /* JSON, the exit event without its "event" key: always last when the command has ended */
    FRAME_HELD = 7,   /* JSON, the process entry: last instead of FRAME_EXIT when output was asked for without following and the
                         command still runs */
};

struct frame {
    enum frame_type type;
    uint32_t length;
    uint64_t offset;
};

void frame_encode(const struct frame *f, unsigned char header[FRAME_HEADER]);

/* False when the bytes are no frame header: unknown type, reserved bytes set, length above FRAME_MAX. */
bool frame_decode(const unsigned char header[FRAME_HEADER], struct frame *out);

void frame_put_u64(uint64_t value, unsigned char out[8]);
uint64_t frame_get_u64(const unsigned char in[8]);

#endif
