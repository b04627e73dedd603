#include "agent/http.h"

#include <string.h>

#include "util/text.h"

static bool decode(const char *text, size_t len, struct buf *out) {
    buf_clear(out);
    if (!buf_append(out, text, len)) return false;
    if (len > 0) out->len = text_percent_decode(out->data, len);
    if (out->data != NULL) out->data[out->len] = '\0';
    return true;
}

/* The decoded key is compared, as a client may write p%61th. */
static bool key_is(const char *key, size_t len, const char *name) {
    size_t name_len = strlen(name);
    if (memchr(key, '%', len) == NULL && memchr(key, '+', len) == NULL)
        return len == name_len && memcmp(key, name, len) == 0;
    struct buf plain = BUF_INIT(256);
    bool same = decode(key, len, &plain) && plain.len == name_len && memcmp(plain.data, name, name_len) == 0;
    buf_free(&plain);
    return same;
}

bool http_query(const struct http_request *r, const char *name, struct buf *out) {
    const char *value = NULL;
    size_t value_len = 0;
    for (const char *at = r->query; *at != '\0';) {
        size_t len = strcspn(at, "&");
        const char *equals = memchr(at, '=', len);
        size_t key_len = equals != NULL ? (size_t)(equals - at) : len;
        if (key_is(at, key_len, name)) {
            value = equals != NULL ? equals + 1 : at + len;
            value_len = (size_t)(at + len - value);
        }
        at += len + (at[len] == '&');
    }
    return value != NULL && decode(value, value_len, out);
}

bool http_query_bool(const struct http_request *r, const char *name, bool otherwise) {
    struct buf value = BUF_INIT(256);
    bool result = otherwise;
    if (http_query(r, name, &value) && value.len > 0) {
        if (strcmp(value.data, "true") == 0 || strcmp(value.data, "1") == 0) result = true;
        if (strcmp(value.data, "false") == 0 || strcmp(value.data, "0") == 0) result = false;
    }
    buf_free(&value);
    return result;
}

int http_query_u64(const struct http_request *r, const char *name, uint64_t *out) {
    struct buf value = BUF_INIT(256);
    int result = 0;
    if (http_query(r, name, &value)) result = text_u64(value.data, value.len, out) ? 1 : -1;
    if (value.failed) result = -1;
    buf_free(&value);
    return result;
}
