/* The body of both stream targets: FUZZ_READER names the reader. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) abort();                                                                           \
    } while (0)

#define JOIN_(a, b)  a##b
#define JOIN(a, b)   JOIN_(a, b)
#define READER(name) JOIN(FUZZ_READER, name)

struct trace {
    uint64_t hash, next[2];
    size_t events;
    bool bad;
};

static void add(struct trace *t, const void *data, size_t len) {
    const unsigned char *bytes = data;
    for (size_t i = 0; i < len; i++)
        t->hash = (t->hash ^ bytes[i]) * 1099511628211u;
}

/* Output may come in other pieces when the bytes do: so its bytes count, and their offsets, and no
 * boundaries. */
static void take(struct trace *t, const struct stream_event *e) {
    switch (e->kind) {
    case STREAM_OUTPUT:
        MUST(e->stream == 0 || e->stream == 1);
        MUST(e->data != NULL || e->len == 0);
        if (e->len > 0 && e->offset != t->next[e->stream]) add(t, &e->offset, sizeof e->offset);
        t->next[e->stream] = e->offset + e->len;
        add(t, e->data, e->len);
        return;
    case STREAM_GAP:
        MUST(e->stream == 0 || e->stream == 1);
        add(t, &e->dropped, sizeof e->dropped);
        break;
    case STREAM_START:
        MUST(memchr(e->id, '\0', sizeof e->id) != NULL);
        add(t, e->id, strlen(e->id));
        break;
    case STREAM_EXIT:
        MUST(memchr(e->exit.limit, '\0', sizeof e->exit.limit) != NULL);
        add(t, &e->exit.exit_code, sizeof e->exit.exit_code);
        break;
    case STREAM_PING:
    case STREAM_HELD:
        break;
    }
    t->events++;
}

static struct trace run(const uint8_t *bytes, size_t size, size_t piece) {
    struct trace t = {.hash = 14695981039346656037u};
    struct FUZZ_READER reader;
    READER(_init)(&reader);
    for (size_t at = 0; at < size && !t.bad;) {
        size_t len = size - at < piece ? size - at : piece, left = len;
        char *copy = malloc(len);
        MUST(copy != NULL);
        memcpy(copy, bytes + at, len);
        const char *data = copy;
        for (;;) {
            struct stream_event e = {0};
            enum stream_read r = READER(_next)(&reader, &data, &left, &e);
            MUST(data + left == copy + len);
            if (r == STREAM_EVENT) take(&t, &e);
            t.bad = r == STREAM_BAD;
            if (r == STREAM_MORE) MUST(left == 0);
            if (r != STREAM_EVENT) break;
        }
        free(copy);
        at += len;
    }
    READER(_free)(&reader);
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct trace whole = run(data, size, SIZE_MAX), byte = run(data, size, 1), pieces = run(data, size, 7);
    MUST(whole.events == byte.events && whole.bad == byte.bad && whole.hash == byte.hash);
    MUST(whole.events == pieces.events && whole.bad == pieces.bad && whole.hash == pieces.hash);
    return 0;
}
