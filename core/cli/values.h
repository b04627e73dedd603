/* The values that options and operands are written in. */
#ifndef CLI_VALUES_H
#define CLI_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool values_size(uint64_t *out, const char *text); /* 65536, 512K, 100M, 2G, 1T; powers of 1024 */
bool values_number(uint64_t *out, const char *text);
int values_signal(const char *text);        /* 9, KILL, SIGKILL; 0 = no such signal */
const char *values_signal_name(int number); /* "KILL"; NULL = none */

/* "ID:path" → the length of ID; 0 when the text is a path of this computer (a slash before the colon, or no
 * colon). */
size_t values_remote(const char *text);

/* How many letters must change to make b from a. */
size_t values_distance(const char *a, const char *b);

#endif
