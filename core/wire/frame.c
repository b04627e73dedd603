#include "wire/frame.h"

#include <string.h>

void frame_put_u64(uint64_t value, unsigned char out[8]) {
    for (int i = 0; i < 8; i++)
        out[i] = (unsigned char)(value >> (8 * i));
}

uint64_t frame_get_u64(const unsigned char in[8]) {
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value |= (uint64_t)in[i] << (8 * i);
    return value;
}

void frame_encode(const struct frame *f, unsigned char header[FRAME_HEADER]) {
    memset(header, 0, FRAME_HEADER);
    header[0] = (unsigned char)f->type;
    for (int i = 0; i < 4; i++)
        header[4 + i] = (unsigned char)(f->length >> (8 * i));
    frame_put_u64(f->offset, header + 8);
}

bool frame_decode(const unsigned char header[FRAME_HEADER], struct frame *out) {
    uint32_t length = 0;
    for (int i = 0; i < 4; i++)
        length |= (uint32_t)header[4 + i] << (8 * i);
    if (header[0] < FRAME_START || header[0] > FRAME_HELD) return false;
    if (header[1] != 0 || header[2] != 0 || header[3] != 0 || length > FRAME_MAX) return false;
    out->type = (enum frame_type)header[0];
    out->length = length;
    out->offset = frame_get_u64(header + 8);
    return true;
}
