/* JSON output: strings escaped into a buffer. */
#ifndef AGENT_ESCAPE_H
#define AGENT_ESCAPE_H

#include "util/buf.h"

/* Appends text as a JSON string with its quotes. Bytes that are no UTF-8 become U+FFFD (one for each maximal bad
   part). */
bool escape_string(struct buf *out, const char *text, size_t len);

/* The same without quotes, for a string that is put together from parts. */
bool escape_part(struct buf *out, const char *text, size_t len);

#endif
