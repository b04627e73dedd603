/* Small pure functions on text: strict numbers, hex, percent-decoding, UTF-8 boundaries, constant-time compare. */
#ifndef UTIL_TEXT_H
#define UTIL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A whole decimal number and nothing else: no sign, no spaces, no overflow, at least one digit. */
bool text_u64(const char *text, size_t len, uint64_t *out);

/* Octal, likewise, at most 07777. */
bool text_mode(const char *text, size_t len, unsigned *out);

/* Lower-case hex of len bytes into out, which has room for 2 * len + 1. */
void text_hex(const void *data, size_t len, char *out);

/* len random bytes as hex, 2 * len + 1 of room. False when the kernel gives none. */
bool text_random_hex(size_t len, char *out);

/* Decodes %XX, and + as a space, in place; returns the new length. A % without two hex digits stays as it is. */
size_t text_percent_decode(char *text, size_t len);

/* How many bytes at the end of data begin a UTF-8 character that is not complete yet (0 to 3). Bytes that can never
   become one count as complete. */
size_t text_utf8_tail(const char *data, size_t len);

/* Equal in length and bytes, in a time that depends on the lengths alone. */
bool text_equal_secret(const char *a, size_t a_len, const char *b, size_t b_len);

#endif
