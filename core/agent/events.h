/* The events of a process as they stand on the wire, as frames or as lines of JSON. Pure: bytes in, bytes
 * out. */
#ifndef AGENT_EVENTS_H
#define AGENT_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "util/buf.h"
#include "wire/frame.h"

/* An event whose content is `fields`, the inside of a JSON object ("" = none): {"event":name,fields} or a
 * frame with {fields}. */
void events_json(struct buf *out, bool frames, enum frame_type type, const char *fields, size_t len);

void events_gap(struct buf *out, bool frames, enum frame_type stream, uint64_t offset, uint64_t dropped);

/* A line of text for these bytes, but for an incomplete character at their end unless `last`. Returns how
   many bytes it stands for; no line when none. */
size_t events_text(struct buf *out, enum frame_type stream, const struct iovec *pieces, int count, bool last);

#endif
