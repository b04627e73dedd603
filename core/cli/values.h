/* The values that options and operands are written in. */
#ifndef CLI_VALUES_H
#define CLI_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool values_size(uint64_t *out, const char *text); /* 65536, 512K, 100M, 2G, 1T; powers of 1024 */
bool values_number(uint64_t *out, const char *text);
bool values_true(
    const char *text); /* a switch of the environment: 1, ON, YES or TRUE in any case; NULL = not set */
int values_signal(const char *text);        /* 9, KILL, SIGKILL; 0 = no such signal */
const char *values_signal_name(int number); /* "KILL"; NULL = none */

bool values_dollars(uint64_t *micro_usd, const char *text); /* 0.5, $2; at most 6 digits behind the point */

/* "ID:path" and "NAMESPACE/ID:path" → the length before the colon; 0 when the text is a path of this
 * computer: without a colon, or with a slash before it, unless what stands between them is the id of a job
 * (24 hex digits), or of a sandbox of a pool (these, a dot and its name). */
size_t values_remote(const char *text);

/* How many letters must change to make b from a. */
size_t values_distance(const char *a, const char *b);

#endif
