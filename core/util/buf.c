#include "util/buf.h"

#include <stdlib.h>
#include <string.h>

#include "util/text.h"

void buf_init(struct buf *b, size_t max) {
    *b = (struct buf)BUF_INIT(max);
}

void buf_free(struct buf *b) {
    free(b->data);
    buf_init(b, b->max);
}

void buf_clear(struct buf *b) {
    b->len = 0;
    b->failed = false;
    if (b->data != NULL) b->data[0] = '\0';
}

char *buf_reserve(struct buf *b, size_t len) {
    if (len > b->max || b->len > b->max - len) {
        b->failed = true;
        return NULL;
    }
    size_t need = b->len + len + 1;
    if (need > b->cap) {
        size_t cap = b->cap < 64 ? 64 : b->cap;
        while (cap < need)
            cap = cap > (b->max + 1) / 2 ? b->max + 1 : cap * 2;
        char *grown = realloc(b->data, cap);
        if (grown == NULL) {
            b->failed = true;
            return NULL;
        }
        b->data = grown;
        b->cap = cap;
    }
    return b->data + b->len;
}

bool buf_append(struct buf *b, const void *data, size_t len) {
    char *end = buf_reserve(b, len);
    if (end == NULL) return false;
    if (len > 0) memcpy(end, data, len);
    end[len] = '\0';
    b->len += len;
    return true;
}

bool buf_puts(struct buf *b, const char *text) {
    return buf_append(b, text, strlen(text));
}

bool buf_putc(struct buf *b, char c) {
    return buf_append(b, &c, 1);
}

bool buf_vprintf(struct buf *b, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    char small[256];
    size_t len = text_vformat(small, sizeof small, format, args);
    char *end = buf_reserve(b, len);
    if (end != NULL) {
        if (len < sizeof small)
            memcpy(end, small, len + 1);
        else
            text_vformat(end, len + 1, format, again);
        b->len += len;
    }
    va_end(again);
    return end != NULL;
}

bool buf_printf(struct buf *b, const char *format, ...) {
    va_list args;
    va_start(args, format);
    bool ok = buf_vprintf(b, format, args);
    va_end(args);
    return ok;
}

void buf_consume(struct buf *b, size_t len) {
    if (len >= b->len) {
        b->len = 0;
    } else {
        memmove(b->data, b->data + len, b->len - len);
        b->len -= len;
    }
    if (b->data != NULL) b->data[b->len] = '\0';
}

char *buf_take(struct buf *b) {
    if (b->data == NULL && buf_reserve(b, 0) != NULL) b->data[0] = '\0';
    char *data = b->data;
    b->data = NULL;
    buf_init(b, b->max);
    return data;
}
