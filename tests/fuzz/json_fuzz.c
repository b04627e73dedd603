// links: client/json.c client/fork_lock.c
/* What a peer answers: every member of a document that parses is read in every way, and text that is written
 * is read back the same. */
#include "client/json.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) abort();                                                                           \
    } while (0)

static void walk(const struct json *value) {
    size_t count = 0;
    json_text(value);
    MUST(!(json_is_object(value) && json_is_array(value)));
    for (const struct json *item = json_first(value); item != NULL; item = json_next(item)) {
        if (json_is_array(value)) MUST(json_at(value, count) == item);
        if (json_is_object(value)) {
            const char *name = json_name(item);
            MUST(name != NULL);
            json_get(value, name);
            json_string(value, name);
            json_bool(value, name, false);
            json_int(value, name, -1);
            json_uint(value, name, 0);
        }
        walk(item);
        count++;
    }
    if (json_is_array(value)) MUST(json_count(value) == count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct json *value = json_parse((const char *)data, size);
    if (value != NULL) walk(value);
    json_free(value);

    if (memchr(data, '\0', size) != NULL) return 0;
    struct buf text = BUF_INIT(size * 6 + 16);
    MUST(json_put(&text, (const char *)data, size));
    value = json_parse(text.data, text.len);
    MUST(value != NULL && json_text(value) != NULL && strlen(json_text(value)) == size &&
         memcmp(json_text(value), data, size) == 0);
    json_free(value);
    buf_free(&text);
    return 0;
}
