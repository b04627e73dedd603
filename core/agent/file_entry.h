/* A file as JSON, GET files/stat, and names that JSON cannot hold. */
#ifndef AGENT_FILE_ENTRY_H
#define AGENT_FILE_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "agent/conn.h"
#include "util/buf.h"

/* {"name","path","type","size","mtime_ms","mode"} and nothing else: the Hub's client builds an object from
   exactly these keys. The path is dir, a slash and the name; without a name it is dir alone. */
bool file_entry_json(struct buf *out, const char *dir, size_t dir_len, const char *name, size_t name_len,
                     const struct stat *st);

bool file_entry_is_text(const char *name, size_t len); /* whether it is UTF-8 */

/* As a JSON string, percent-encoded: what to put into a query to reach it. */
bool file_entry_escape(struct buf *out, const char *name, size_t len);

void file_entry_start(struct exchange *x);

#endif
