// links: agent/json_in.c
/* Request bodies: every value of a document that parses is read in every way. */
#include "agent/json_in.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/limits.h"

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) abort();                                                                           \
    } while (0)

static void read_all_ways(const struct json_doc *d, json_at at) {
    struct buf text = BUF_INIT(MIB(1));
    bool truth;
    int64_t number;
    uint64_t whole;
    bool is_string = json_in_type(d, at) == JSON_STRING;
    bool decoded = json_in_string(d, at, &text, true);
    MUST(is_string || !decoded);
    buf_clear(&text);
    if (json_in_string(d, at, &text, false)) MUST(text.len == 0 || memchr(text.data, '\0', text.len) == NULL);
    buf_clear(&text);
    bool scalar = json_in_scalar(d, at, &text);
    MUST(!scalar || (json_in_type(d, at) != JSON_ARRAY && json_in_type(d, at) != JSON_OBJECT &&
                     json_in_type(d, at) != JSON_NULL));
    buf_free(&text);
    free(json_in_strdup(d, at));
    MUST(!json_in_bool(d, at, &truth) || json_in_type(d, at) == JSON_BOOL);
    if (json_in_milli(d, at, &number)) MUST(number > INT64_MIN);
    if (json_in_u64(d, at, &whole)) MUST(json_in_type(d, at) == JSON_NUMBER);
}

static void walk(const struct json_doc *d, json_at at, int depth) {
    enum json_type type = json_in_type(d, at);
    size_t count = 0;
    MUST(depth <= LIMIT_JSON_DEPTH + 1);
    read_all_ways(d, at);
    if (type != JSON_ARRAY && type != JSON_OBJECT) return;
    for (json_at item = json_in_first(d, at); item >= 0; item = json_in_next(d, item)) {
        count++;
        if (type == JSON_OBJECT) {
            MUST(json_in_type(d, item) == JSON_STRING);
            read_all_ways(d, item);
            walk(d, json_in_value(d, item), depth + 1);
        } else {
            walk(d, item, depth + 1);
        }
    }
    MUST(count == json_in_size(d, at));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *why = NULL;
    struct json_doc *d = json_in_parse((const char *)data, size, &why);
    MUST(d != NULL || why != NULL);
    if (d == NULL) return 0;
    walk(d, 0, 0);
    json_in_get(d, 0, "cmd");
    json_in_free(d);
    return 0;
}
