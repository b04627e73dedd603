#include "util/text.h"

#include <string.h>
#include <sys/random.h>

bool text_u64(const char *text, size_t len, uint64_t *out) {
    uint64_t value = 0;
    if (len == 0) return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (value > (UINT64_MAX - digit) / 10) return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

bool text_mode(const char *text, size_t len, unsigned *out) {
    unsigned value = 0;
    if (len == 0 || len > 6) return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '7') return false;
        value = value * 8 + (unsigned)(text[i] - '0');
    }
    if (value > 07777) return false;
    *out = value;
    return true;
}

void text_hex(const void *data, size_t len, char *out) {
    static const char digits[] = "0123456789abcdef";
    const unsigned char *bytes = data;
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * len] = '\0';
}

bool text_random_hex(size_t len, char *out) {
    unsigned char bytes[64];
    if (len > sizeof bytes || getrandom(bytes, len, 0) != (ssize_t)len) return false;
    text_hex(bytes, len, out);
    return true;
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

size_t text_percent_decode(char *text, size_t len) {
    size_t to = 0;
    for (size_t from = 0; from < len; from++) {
        char c = text[from];
        if (c == '+') {
            c = ' ';
        } else if (c == '%' && from + 2 < len && hex_value(text[from + 1]) >= 0 &&
                   hex_value(text[from + 2]) >= 0) {
            c = (char)(hex_value(text[from + 1]) * 16 + hex_value(text[from + 2]));
            from += 2;
        }
        text[to++] = c;
    }
    return to;
}

size_t text_utf8_tail(const char *data, size_t len) {
    size_t back = len < 3 ? len : 3;
    for (size_t n = 1; n <= back; n++) {
        unsigned char c = (unsigned char)data[len - n];
        if (c < 0x80) return 0;
        if (c < 0xC0) continue; /* a continuation byte: look further back for its lead */
        size_t want = c >= 0xF5 || c < 0xC2 ? 1 : c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
        if (want <= n) return 0;
        if (n >= 2) {
            /* The second byte already rules out some sequences (overlong, surrogates, past U+10FFFF). */
            unsigned char d = (unsigned char)data[len - n + 1];
            if ((c == 0xE0 && d < 0xA0) || (c == 0xED && d > 0x9F) || (c == 0xF0 && d < 0x90) ||
                (c == 0xF4 && d > 0x8F))
                return 0;
        }
        return n;
    }
    return 0;
}

bool text_equal_secret(const char *a, size_t a_len, const char *b, size_t b_len) {
    unsigned char differs = a_len != b_len;
    for (size_t i = 0; i < a_len; i++)
        differs |= (unsigned char)(a[i] ^ (b_len > 0 ? b[i % b_len] : 0));
    return differs == 0;
}
