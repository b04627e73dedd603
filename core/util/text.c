#include "util/text.h"

#include <string.h>
#include <sys/random.h>

#define DOUBLE_DIGITS 309 /* of the largest double, before its point */

struct sink {
    char *out;
    size_t size, len;
};

static void put(struct sink *s, const char *text, size_t len) {
    if (s->len < s->size) memcpy(s->out + s->len, text, len < s->size - s->len ? len : s->size - s->len);
    s->len += len;
}

static size_t put_digits(char *out, uint64_t value, unsigned base, const char *digits) {
    char reversed[TEXT_DIGITS];
    size_t n = 0;
    do
        reversed[n++] = digits[value % base];
    while ((value /= base) > 0);
    for (size_t i = 0; i < n; i++)
        out[i] = reversed[n - 1 - i];
    return n;
}

size_t text_digits(char out[TEXT_DIGITS], uint64_t value, unsigned base) {
    return put_digits(out, value, base, "0123456789abcdef");
}

static void put_number(struct sink *s, uint64_t value, char conversion, size_t width) {
    char digits[TEXT_DIGITS];
    unsigned base = conversion == 'o' ? 8 : (conversion | 0x20) == 'x' ? 16 : 10;
    size_t len = put_digits(digits, value, base, conversion == 'X' ? "0123456789ABCDEF" : "0123456789abcdef");
    for (; width > len; width--)
        put(s, "0", 1);
    put(s, digits, len);
}

size_t text_vformat(char *out, size_t size, const char *format, va_list args) {
    struct sink s = {.out = out, .size = size, .len = 0};
    for (;;) {
        size_t plain = strcspn(format, "%");
        put(&s, format, plain);
        format += plain;
        if (*format == '\0') break;
        size_t width = 0, precision = SIZE_MAX;
        for (format++; *format >= '0' && *format <= '9'; format++)
            width = width * 10 + (size_t)(*format - '0');
        if (*format == '.') {
            precision = 0;
            if (*++format == '*') {
                precision = (size_t)va_arg(args, int);
                format++;
            }
            for (; *format >= '0' && *format <= '9'; format++)
                precision = precision * 10 + (size_t)(*format - '0');
        }
        int longs = 0;
        for (; *format == 'l' || *format == 'z'; format++)
            longs++;
        long long number = 0;
        char one;
        switch (*format) {
        case 's': {
            const char *text = va_arg(args, const char *);
            if (text == NULL) text = "(null)";
            put(&s, text, strnlen(text, precision));
            break;
        }
        case 'c':
            one = (char)va_arg(args, int);
            put(&s, &one, 1);
            break;
        case 'd':
            number = longs == 0   ? va_arg(args, int)
                     : longs == 1 ? va_arg(args, long)
                                  : va_arg(args, long long);
            if (number < 0) put(&s, "-", 1);
            if (number < 0 && width > 0) width--;
            put_number(&s, number < 0 ? -(uint64_t)number : (uint64_t)number, 'd', width);
            break;
        case 'u':
        case 'x':
        case 'X':
        case 'o':
            put_number(&s,
                       longs == 0   ? va_arg(args, unsigned)
                       : longs == 1 ? va_arg(args, unsigned long)
                                    : va_arg(args, unsigned long long),
                       *format, width);
            break;
        case '%':
            put(&s, "%", 1);
            break;
        default: /* a conversion that is none: its letter stands for it */
            continue;
        }
        format++;
    }
    if (size > 0) out[s.len < size ? s.len : size - 1] = '\0';
    return s.len;
}

size_t text_format(char *out, size_t size, const char *format, ...) {
    va_list args;
    va_start(args, format);
    size_t len = text_vformat(out, size, format, args);
    va_end(args);
    return len;
}

/* value * 10 + digit, at most UINT64_MAX. */
static uint64_t add_digit(uint64_t value, char digit) {
    uint64_t more = (uint64_t)(digit - '0');
    return value > (UINT64_MAX - more) / 10 ? UINT64_MAX : value * 10 + more;
}

const char *text_after(const char *text, const char *name) {
    size_t len = strlen(name);
    for (; (text = strchr(text, name[0])) != NULL; text++)
        if (strncmp(text, name, len) == 0) return text + len;
    return NULL;
}

bool text_take(const char **at, uint64_t *out) {
    const char *p = *at + strspn(*at, " \t\n");
    uint64_t value = 0;
    if (*p < '0' || *p > '9') return false;
    for (; *p >= '0' && *p <= '9'; p++)
        value = add_digit(value, *p);
    *at = p;
    *out = value;
    return true;
}

uint64_t text_number(const char *at) {
    uint64_t value = 0;
    text_take(&at, &value);
    return value;
}

bool text_decimal(const char *text, size_t len, int places, uint64_t *out, bool *rest) {
    uint64_t value = 0, exponent = 0;
    int64_t digits = 0, scale = places; /* the number is value * 10^scale, and value has so many digits */
    bool point = false, full = false;
    size_t i = 0;
    *rest = false;
    for (; i < len && text[i] != 'e' && text[i] != 'E'; i++) {
        if (text[i] == '.') {
            point = true;
            continue;
        }
        full = full || value > (UINT64_MAX - 9) / 10;
        if (!full) value = add_digit(value, text[i]);
        if (!full && value > 0) digits++;
        if (full && text[i] != '0') *rest = true;
        scale += full - point;
    }
    bool down = i + 1 < len && text[i + 1] == '-';
    for (; i < len; i++)
        if (text[i] >= '0' && text[i] <= '9' && exponent < INT32_MAX) exponent = add_digit(exponent, text[i]);
    scale += down ? -(int64_t)exponent : (int64_t)exponent;
    if (value > 0 && digits + scale - places > DOUBLE_DIGITS) return false;
    for (; scale > 0 && value > 0 && value < UINT64_MAX; scale--)
        value = add_digit(value, '0');
    for (; scale < 0 && value > 0; scale++) {
        if (value % 10 != 0) *rest = true;
        value /= 10;
    }
    *out = value;
    return true;
}

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

bool text_copy(const char **out, const char *text) {
    *out = text != NULL ? strdup(text) : NULL;
    return *out != NULL || text == NULL;
}
