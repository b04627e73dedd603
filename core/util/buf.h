/* Bytes with a ceiling: a growable buffer whose maximum is stated when it is made. */
#ifndef UTIL_BUF_H
#define UTIL_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data;  /* NULL while empty; always followed by a NUL byte that len does not count */
    size_t len;
    size_t cap;
    size_t max;  /* the most bytes it will hold */
    bool failed; /* sticky: an append did not fit or memory ran out; the contents are then incomplete */
};

#define BUF_INIT(maximum) {.data = NULL, .len = 0, .cap = 0, .max = (maximum), .failed = false}

void buf_init(struct buf *b, size_t max);
void buf_free(struct buf *b);  /* releases the memory; the buffer may be used again with the same maximum */
void buf_clear(struct buf *b); /* len = 0, keeps the memory, clears failed */

/* Each append returns false, and marks the buffer failed, when it does not fit or memory runs out. So a
   run of appends needs one check of b->failed at its end. */
bool buf_append(struct buf *b, const void *data, size_t len);
bool buf_puts(struct buf *b, const char *text);
bool buf_putc(struct buf *b, char c);
bool buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool buf_vprintf(struct buf *b, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

/* Room for at least len more bytes at the end, to be filled by the caller, who then adds to b->len.
   NULL when it does not fit. */
char *buf_reserve(struct buf *b, size_t len);

void buf_consume(struct buf *b, size_t len); /* drops the first len bytes */
char *buf_take(struct buf *b);               /* hands the NUL-terminated bytes to the caller, who frees them; never NULL
                                                unless memory ran out */

#endif
