/* Small files in one go, such as those of /proc, and writes that go on until all is written. */
#ifndef UTIL_WHOLE_H
#define UTIL_WHOLE_H

#include <stdbool.h>
#include <stddef.h>

/* The file, or as much of it as fits, as text. False when it cannot be read, or is empty; the text is "" then.
   Relative to the directory `at`, or to the working directory with AT_FDCWD. */
bool whole_read(int at, const char *path, char *text, size_t room);

/* Writes text into a file that exists, by one call. */
bool whole_put(const char *path, const char *text);

bool whole_write(int fd, const void *data, size_t len);

#endif
