/* Small pure functions on text: formatting, numbers, hex, percent-decoding, UTF-8 boundaries, constant-time compare. */
#ifndef UTIL_TEXT_H
#define UTIL_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As snprintf, for the few conversions that are used here, so that the agent carries no more: %c %s %d %u %x %X %o,
   with l, ll or z before; %s with a precision or .*; numbers with a width and zeros before them, as %04x. Returns the
   length of the whole text. */
size_t text_format(char *out, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
size_t text_vformat(char *out, size_t size, const char *format, va_list args) __attribute__((format(printf, 3, 0)));

/* The digits of value in base 8, 10 or 16 into out, without an end; returns how many. */
#define TEXT_DIGITS 22
size_t text_digits(char out[TEXT_DIGITS], uint64_t value, unsigned base);

/* What follows the first `name` in text; NULL when it is not there. */
const char *text_after(const char *text, const char *name);

/* Takes the decimal number at *at, after any white space, and moves *at behind it; too large is UINT64_MAX. False when
   there is no digit. */
bool text_take(const char **at, uint64_t *out);

/* The same for what is known to be a number: 0 when it is not. */
uint64_t text_number(const char *at);

/* A number as JSON writes it, without its sign, times 10^places: the whole part of that, at most UINT64_MAX; *rest says
   that there is more. False for what no double could hold. */
bool text_decimal(const char *text, size_t len, int places, uint64_t *out, bool *rest);

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

/* A copy into *out, for free(); NULL for NULL. False: no memory. */
bool text_copy(const char **out, const char *text);

#endif
