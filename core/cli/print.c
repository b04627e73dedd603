#include "print.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "exits.h"
#include "signals.h"

#define ERROR_MAX 2048

void *print_allocate(size_t size) {
    void *memory = calloc(1, size ? size : 1);
    if (!memory) {
        print_error("out of memory");
        _exit(EXITS_FAILED);
    }
    return memory;
}

/* The length of the well-formed UTF-8 character at `text`, 0 when there is none. */
static size_t character(const unsigned char *text, size_t len, uint32_t *out) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t size = text[0] < 0x80   ? 1
                  : text[0] < 0xc2 ? 0
                  : text[0] < 0xe0 ? 2
                  : text[0] < 0xf0 ? 3
                  : text[0] < 0xf5 ? 4
                                   : 0;
    if (!size || size > len) return 0;
    uint32_t code = size == 1 ? text[0] : text[0] & (0xffu >> (size + 1));
    for (size_t i = 1; i < size; i++) {
        if ((text[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (text[i] & 0x3fu);
    }
    if (code < least[size] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return 0;
    *out = code;
    return size;
}

static bool acts_on_terminals(uint32_t code) {
    return code < 0x20 || (code >= 0x7f && code < 0xa0)                                /* C0, DEL, C1 */
           || code == 0x061c || (code >= 0x200b && code <= 0x200f)                     /* marks, zero width */
           || (code >= 0x2028 && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f) /* lines, directions */
           || code == 0xfeff || (code >= 0xe0000 && code <= 0xe007f);
}

size_t print_text(FILE *out, const char *text, size_t len) {
    size_t columns = 0;
    for (size_t at = 0; at < len;) {
        uint32_t code = 0;
        size_t size = character((const unsigned char *)text + at, len - at, &code);
        if (size && !acts_on_terminals(code)) {
            fwrite(text + at, 1, size, out);
            columns++;
        } else {
            if (!size) size = 1;
            for (size_t i = 0; i < size; i++)
                fprintf(out, "\\x%02x", (unsigned char)text[at + i]);
            columns += 4 * size;
        }
        at += size;
    }
    return columns;
}

void print_prepare(void) {
    static char line[4 * ERROR_MAX + 64]; /* of the longest one, had each byte to be shown as \xNN */
    setvbuf(stderr, line, _IOFBF, sizeof line);
}

static bool status_shown; /* under the lock of stderr */

static void erase_status(void) {
    if (status_shown) fputs("\r\033[K", stderr);
    status_shown = false;
}

void print_status(const char *line) {
    struct winsize window;
    int columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 ? window.ws_col : 0;
    flockfile(stderr);
    erase_status();
    if (line) {
        /* A line that is too long would go on below, and stay there. */
        fprintf(stderr, "%.*s", columns > 1 ? columns - 1 : 79, line);
        status_shown = true;
    }
    fflush(stderr);
    funlockfile(stderr);
}

static void say(const char *end, const char *format, va_list arguments) {
    char line[ERROR_MAX];
    int len = vsnprintf(line, sizeof line, format, arguments);
    if (len < 0) return;
    size_t used = (size_t)len < sizeof line ? (size_t)len : sizeof line - 1;
    flockfile(stderr); /* the library's threads have something to say too */
    erase_status();
    fputs("hfsandbox: ", stderr);
    print_text(stderr, line, used);
    fputs(end, stderr);
    fflush(stderr);
    funlockfile(stderr);
}

void print_error(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say("\n", format, arguments);
    va_end(arguments);
}

void print_question(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(" (y/N) ", format, arguments);
    va_end(arguments);
}

bool print_bytes(int fd, const void *data, size_t len) {
    const char *at = data;
    while (len) {
        ssize_t written = write(fd, at, len);
        if (written >= 0) {
            at += written;
            len -= (size_t)written;
        } else if (errno == EINTR) {
            if (signals_received()) return errno = EINTR, false;
        } else if (errno == EAGAIN) { /* somebody else made the shared descriptor non-blocking */
            struct pollfd ready = {.fd = fd, .events = POLLOUT};
            if (poll(&ready, 1, -1) < 0 && signals_received()) return errno = EINTR, false;
        } else {
            return false;
        }
    }
    return true;
}

int print_failed(int error_number) {
    if (error_number == EPIPE) return EXITS_SIGNAL + SIGPIPE;
    if (error_number == EINTR && signals_received()) return EXITS_SIGNAL + signals_received();
    print_error("cannot write the output: %s", strerror(error_number));
    return EXITS_FAILED;
}

int print_end(void) {
    return fflush(stdout) ? print_failed(errno) : ferror(stdout) ? print_failed(EIO) : 0;
}

/* ---- Tables */

struct print_table {
    size_t columns, count, room;
    const char *aligned;
    char **cells; /* made safe already */
    size_t *widths;
};

static void add_cell(struct print_table *table, const char *text, size_t len) {
    if (table->count == table->room) {
        size_t room = table->room ? 2 * table->room : 64;
        char **cells = print_allocate(room * sizeof *cells);
        size_t *widths = print_allocate(room * sizeof *widths);
        if (table->count) {
            memcpy(cells, table->cells, table->count * sizeof *cells);
            memcpy(widths, table->widths, table->count * sizeof *widths);
        }
        free(table->cells);
        free(table->widths);
        table->cells = cells;
        table->widths = widths;
        table->room = room;
    }
    size_t size = 0;
    FILE *memory = open_memstream(&table->cells[table->count], &size);
    if (memory) table->widths[table->count] = print_text(memory, text, len);
    if (!memory || fclose(memory)) {
        print_error("out of memory");
        _exit(EXITS_FAILED);
    }
    table->count++;
}

struct print_table *print_table_new(size_t columns, const char *const *heads, const char *aligned) {
    struct print_table *table = print_allocate(sizeof *table);
    table->columns = columns;
    table->aligned = aligned;
    for (size_t i = 0; i < columns; i++)
        add_cell(table, heads[i], strlen(heads[i]));
    return table;
}

void print_table_cell(struct print_table *table, const char *format, ...) {
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int len = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (len < 0) {
        print_error("out of memory");
        _exit(EXITS_FAILED);
    }
    add_cell(table, text, (size_t)len);
    free(text);
}

void print_table_time(struct print_table *table, int64_t ms) {
    char text[32] = "";
    time_t at = (time_t)(ms / 1000);
    struct tm local;
    localtime_r(&at, &local);
    if (ms > 0) strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &local);
    print_table_cell(table, "%s", text);
}

void print_table_end(struct print_table *table) {
    size_t *widest = print_allocate(table->columns * sizeof *widest);
    for (size_t i = 0; i < table->count; i++) {
        size_t *width = &widest[i % table->columns];
        if (table->widths[i] > *width) *width = table->widths[i];
    }
    for (size_t i = 0; i < table->count; i++) {
        size_t column = i % table->columns;
        int padding = (int)(widest[column] - table->widths[i]);
        bool last = column + 1 == table->columns;
        if (table->aligned[column] == 'r') printf("%*s", padding, "");
        fputs(table->cells[i], stdout);
        if (table->aligned[column] != 'r' && !last) printf("%*s", padding, "");
        fputs(last ? "\n" : "  ", stdout);
    }
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i]);
    free(table->cells);
    free(table->widths);
    free(widest);
    free(table);
}

/* ---- JSON */

static void value(struct print_json *json) {
    if (json->comma) putchar(',');
    json->comma = true;
}

void print_json_begin(struct print_json *json, char bracket) {
    value(json);
    json->comma = false;
    putchar(bracket);
}

void print_json_end(struct print_json *json, char bracket) {
    putchar(bracket);
    json->comma = true;
}

void print_json_name(struct print_json *json, const char *name) {
    value(json);
    printf("\"%s\":", name);
    json->comma = false;
}

static void print_escaped(uint32_t code) {
    if (code >= 0x10000) {
        printf("\\u%04x\\u%04x", (unsigned)(0xd7c0 + (code >> 10)), (unsigned)(0xdc00 | (code & 0x3ff)));
    } else {
        printf("\\u%04x", (unsigned)code);
    }
}

void print_json_text(struct print_json *json, const char *text, size_t len) {
    value(json);
    putchar('"');
    for (size_t at = 0; at < len;) {
        uint32_t code = 0;
        size_t size = character((const unsigned char *)text + at, len - at, &code);
        if (!size) {
            fputs("\\ufffd", stdout);
            size = 1;
        } else if (code == '"' || code == '\\') {
            printf("\\%c", (int)code);
        } else if (acts_on_terminals(code)) {
            print_escaped(code);
        } else {
            fwrite(text + at, 1, size, stdout);
        }
        at += size;
    }
    putchar('"');
}

void print_json_whole(const char *text, size_t len) {
    for (size_t at = 0, size; at < len; at += size) {
        uint32_t code = 0xfffd;
        size = character((const unsigned char *)text + at, len - at, &code);
        if (!size) size = 1;
        if (code >= 0x7f) {
            print_escaped(code);
        } else if (code >= ' ') {
            putchar((int)code);
        }
    }
    putchar('\n');
}

void print_json_number(struct print_json *json, int64_t number) {
    value(json);
    printf("%lld", (long long)number);
}

void print_json_bool(struct print_json *json, bool truth) {
    value(json);
    fputs(truth ? "true" : "false", stdout);
}

void print_json_null(struct print_json *json) {
    value(json);
    fputs("null", stdout);
}

static void base64(const unsigned char *data, size_t len) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i += 3) {
        unsigned b = i + 1 < len ? data[i + 1] : 0u, c = i + 2 < len ? data[i + 2] : 0u;
        uint32_t group = (uint32_t)data[i] << 16 | b << 8 | c;
        putchar(digits[group >> 18]);
        putchar(digits[group >> 12 & 63]);
        putchar(i + 1 < len ? digits[group >> 6 & 63] : '=');
        putchar(i + 2 < len ? digits[group & 63] : '=');
    }
}

void print_json_member_text(struct print_json *json, const char *name, const char *text) {
    print_json_name(json, name);
    if (!text) {
        print_json_null(json);
        return;
    }
    size_t len = strlen(text);
    print_json_text(json, text, len);
    for (size_t at = 0, size = 0; at < len; at += size) {
        uint32_t code;
        size = character((const unsigned char *)text + at, len - at, &code);
        if (size) continue;
        printf(",\"%s_base64\":\"", name);
        base64((const unsigned char *)text, len);
        putchar('"');
        return;
    }
}

void print_json_member_number(struct print_json *json, const char *name, int64_t number) {
    print_json_name(json, name);
    print_json_number(json, number);
}

void print_json_member_bool(struct print_json *json, const char *name, bool truth) {
    print_json_name(json, name);
    print_json_bool(json, truth);
}

void print_json_member_code(struct print_json *json, const char *name, bool present, int64_t number) {
    print_json_name(json, name);
    if (present) {
        print_json_number(json, number);
    } else {
        print_json_null(json);
    }
}
