// links: agent/proxy_head.c agent/http.c
/* What a server inside the sandbox answers to the proxy: a head is found where it ends and nowhere else, and
   what the client gets of it says the same and closes the connection. */
#include "agent/proxy_head.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "wire/limits.h"

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) abort();                                                                           \
    } while (0)

static size_t connection_fields(const struct buf *head) {
    size_t found = 0;
    const char *line = head->data, *end = head->data + head->len;
    while (line < end) {
        if (end - line > 11 && strncasecmp(line, "Connection:", 11) == 0) found++;
        const char *lf = memchr(line, '\n', (size_t)(end - line));
        line = lf != NULL ? lf + 1 : end;
    }
    return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct proxy_response whole, part, again;
    /* Exactly as many bytes as there are, so that reading on is noticed. */
    char *bytes = malloc(size > 0 ? size : 1);
    if (bytes == NULL) return 0;
    memcpy(bytes, data, size);
    if (size > 0 && size <= LIMIT_HEAD && proxy_head_scan(bytes, size, &whole) == 1) {
        MUST(whole.head <= size && whole.status >= 100 && whole.status <= 999 && whole.length >= -1);
        MUST(proxy_head_scan(bytes, whole.head - 1, &part) == 0);
        MUST(proxy_head_scan(bytes, whole.head, &part) == 1 && part.head == whole.head);
        struct buf out = BUF_INIT(LIMIT_HEAD * 2 + 64);
        proxy_head_response(bytes, &whole, &out);
        MUST(!out.failed && connection_fields(&out) == 1);
        MUST(proxy_head_scan(out.data, out.len, &again) == 1 && again.head == out.len);
        /* Without a length it is relayed to its end, whatever the client counts. */
        MUST(again.status == whole.status && (whole.length < 0 || again.length == whole.length));
        buf_free(&out);
    }
    free(bytes);
    return 0;
}
