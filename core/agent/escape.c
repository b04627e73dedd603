#include "agent/escape.h"

#include <stdint.h>

/* Length of the well-formed UTF-8 character at p, or 0; *bad is then the length of the maximal bad part. */
static size_t utf8_char(const unsigned char *p, size_t left, size_t *bad) {
    unsigned char c = p[0];
    size_t want = c >= 0xC2 && c <= 0xDF ? 2 : c >= 0xE0 && c <= 0xEF ? 3 : c >= 0xF0 && c <= 0xF4 ? 4 : 0;
    unsigned char low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
    unsigned char high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
    *bad = 1;
    if (want == 0) return 0;
    for (size_t i = 1; i < want; i++) {
        if (i >= left || p[i] < low || p[i] > high) return 0;
        low = 0x80;
        high = 0xBF;
        *bad = i + 1;
    }
    return want;
}

static bool escape_byte(struct buf *out, unsigned char c) {
    switch (c) {
    case '"':
        return buf_append(out, "\\\"", 2);
    case '\\':
        return buf_append(out, "\\\\", 2);
    case '\n':
        return buf_append(out, "\\n", 2);
    case '\r':
        return buf_append(out, "\\r", 2);
    case '\t':
        return buf_append(out, "\\t", 2);
    default:
        return buf_printf(out, "\\u%04x", c);
    }
}

bool escape_part(struct buf *out, const char *text, size_t len) {
    const unsigned char *p = (const unsigned char *)text;
    size_t run = 0;
    for (size_t i = 0; i < len;) {
        unsigned char c = p[i];
        size_t bad, size = 1;
        bool plain = c >= 0x20 && c < 0x7F && c != '"' && c != '\\';
        if (!plain && c >= 0x80) {
            size = utf8_char(p + i, len - i, &bad);
            plain = size > 0;
            if (!plain) size = bad;
        }
        if (!plain) {
            if (!buf_append(out, text + run, i - run)) return false;
            if (!(c >= 0x80 ? buf_append(out, "\xEF\xBF\xBD", 3) : escape_byte(out, c))) return false;
            run = i + size;
        }
        i += size;
    }
    return buf_append(out, text + run, len - run);
}

bool escape_string(struct buf *out, const char *text, size_t len) {
    return buf_putc(out, '"') && escape_part(out, text, len) && buf_putc(out, '"');
}
