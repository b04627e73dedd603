#include "client/json.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "client/fork_lock.h"
#include "util/testing.h"

/* cJSON keeps the place of the last error in a global variable that each parse writes. */
static struct fork_lock parse_lock;

#define EXACT_MAX 9007199254740992.0 /* 2^53: beyond it a double skips integers */

static const cJSON *inner(const struct json *value) {
    return (const cJSON *)(const void *)value;
}

static const struct json *outer(const cJSON *value) {
    return (const struct json *)(const void *)value;
}

struct json *json_parse(const char *text, size_t len) {
    const char *end = NULL;
    fork_lock_take(&parse_lock);
    cJSON *value = cJSON_ParseWithLengthOpts(text, len, &end, 0);
    fork_lock_give(&parse_lock);
    if (value == NULL) return NULL;
    for (; end < text + len; end++) {
        if (strchr(" \t\r\n", *end) == NULL || *end == '\0') {
            cJSON_Delete(value);
            return NULL;
        }
    }
    return (struct json *)(void *)value;
}

void json_free(struct json *value) {
    cJSON_Delete((cJSON *)(void *)value);
}

const struct json *json_get(const struct json *object, const char *name) {
    if (object == NULL || !cJSON_IsObject(inner(object))) return NULL;
    return outer(cJSON_GetObjectItemCaseSensitive(inner(object), name));
}

const struct json *json_at(const struct json *array, size_t index) {
    const struct json *item = json_first(array);
    while (item != NULL && index-- > 0)
        item = json_next(item);
    return item;
}

size_t json_count(const struct json *array) {
    size_t count = 0;
    for (const struct json *item = json_first(array); item != NULL; item = json_next(item))
        count++;
    return count;
}

const struct json *json_first(const struct json *array_or_object) {
    if (!json_is_array(array_or_object) && !json_is_object(array_or_object)) return NULL;
    return outer(inner(array_or_object)->child);
}

const struct json *json_next(const struct json *item) {
    return item != NULL ? outer(inner(item)->next) : NULL;
}

const char *json_name(const struct json *member) {
    return member != NULL ? inner(member)->string : NULL;
}

bool json_is_object(const struct json *value) {
    return value != NULL && cJSON_IsObject(inner(value));
}

bool json_is_array(const struct json *value) {
    return value != NULL && cJSON_IsArray(inner(value));
}

bool json_is_null(const struct json *value) {
    return value != NULL && cJSON_IsNull(inner(value));
}

const char *json_text(const struct json *value) {
    return value != NULL && cJSON_IsString(inner(value)) ? inner(value)->valuestring : NULL;
}

const char *json_string(const struct json *object, const char *name) {
    return json_text(json_get(object, name));
}

bool json_bool(const struct json *object, const char *name, bool otherwise) {
    const struct json *value = json_get(object, name);
    if (value == NULL || !cJSON_IsBool(inner(value))) return otherwise;
    return cJSON_IsTrue(inner(value));
}

int64_t json_int(const struct json *object, const char *name, int64_t otherwise) {
    const struct json *value = json_get(object, name);
    if (value == NULL || !cJSON_IsNumber(inner(value))) return otherwise;
    double number = inner(value)->valuedouble;
    if (!(number >= -EXACT_MAX)) return (int64_t)-EXACT_MAX;
    if (number > EXACT_MAX) return (int64_t)EXACT_MAX;
    return (int64_t)number;
}

uint64_t json_uint(const struct json *object, const char *name, uint64_t otherwise) {
    const struct json *value = json_get(object, name);
    if (value == NULL || !cJSON_IsNumber(inner(value)) || inner(value)->valuedouble < 0) return otherwise;
    return (uint64_t)json_int(object, name, 0);
}

bool json_int_within(const struct json *object, const char *name, int least, int most, int otherwise,
                     int *out) {
    const struct json *value = json_get(object, name);
    *out = otherwise;
    if (value == NULL || json_is_null(value)) return true;
    int64_t number = json_int(object, name, INT64_MAX);
    bool within = number >= least && number <= most && (double)number == inner(value)->valuedouble;
    if (within || testing_off("number-range")) *out = (int)number;
    return within || testing_off("number-range");
}

bool json_put(struct buf *out, const char *text, size_t len) {
    buf_putc(out, '"');
    size_t plain = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        buf_append(out, text + plain, i - plain);
        plain = i + 1;
        if (c == '"' || c == '\\') {
            buf_putc(out, '\\');
            buf_putc(out, (char)c);
        } else {
            buf_printf(out, "\\u%04x", c);
        }
    }
    buf_append(out, text + plain, len - plain);
    return buf_putc(out, '"');
}

bool json_put_text(struct buf *out, const char *text) {
    return text != NULL ? json_put(out, text, strlen(text)) : buf_puts(out, "null");
}

bool json_put_base64(struct buf *out, const void *data, size_t len) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = data;
    size_t room = len / 3 * 4 + 6;
    char *to = buf_reserve(out, room);
    if (to == NULL) return false;
    char *start = to;
    *to++ = '"';
    for (; len >= 3; len -= 3, in += 3) {
        *to++ = digits[in[0] >> 2];
        *to++ = digits[(in[0] & 3) << 4 | in[1] >> 4];
        *to++ = digits[(in[1] & 15) << 2 | in[2] >> 6];
        *to++ = digits[in[2] & 63];
    }
    if (len > 0) {
        unsigned second = len == 2 ? in[1] : 0;
        *to++ = digits[in[0] >> 2];
        *to++ = digits[(in[0] & 3u) << 4 | second >> 4];
        *to++ = len == 2 ? digits[(second & 15) << 2] : '=';
        *to++ = '=';
    }
    *to++ = '"';
    out->len += (size_t)(to - start);
    out->data[out->len] = '\0';
    return true;
}

bool json_put_array(struct buf *out, const char *const *items) {
    buf_putc(out, '[');
    for (size_t i = 0; items != NULL && items[i] != NULL; i++) {
        if (i > 0) buf_putc(out, ',');
        json_put_text(out, items[i]);
    }
    return buf_putc(out, ']');
}

/* Whether a later string sets the same name. */
static bool set_again(const char *const *env, size_t index, size_t name_len) {
    for (size_t i = index + 1; env[i] != NULL; i++) {
        if (strncmp(env[i], env[index], name_len) == 0 && env[i][name_len] == '=') return true;
    }
    return false;
}

bool json_put_env(struct buf *out, const char *const *env) {
    bool first = true;
    buf_putc(out, '{');
    for (size_t i = 0; env != NULL && env[i] != NULL; i++) {
        const char *equals = strchr(env[i], '=');
        size_t name_len = equals != NULL ? (size_t)(equals - env[i]) : strlen(env[i]);
        if (set_again(env, i, name_len)) continue;
        if (!first) buf_putc(out, ',');
        first = false;
        json_put(out, env[i], name_len);
        buf_putc(out, ':');
        json_put_text(out, equals != NULL ? equals + 1 : "");
    }
    return buf_putc(out, '}');
}

/* ---- Strings with NUL bytes, which cJSON's strings cannot carry */

static int hex4(const char *at, const char *end) {
    int value = 0;
    if (end - at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        int digit = c >= '0' && c <= '9'                 ? c - '0'
                    : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                         : -1;
        if (digit < 0) return -1;
        value = value << 4 | digit;
    }
    return value;
}

static void put_utf8(struct buf *out, unsigned code) {
    if (code < 0x80) {
        buf_putc(out, (char)code);
    } else if (code < 0x800) {
        buf_putc(out, (char)(0xc0 | code >> 6));
        buf_putc(out, (char)(0x80 | (code & 63)));
    } else if (code < 0x10000) {
        buf_putc(out, (char)(0xe0 | code >> 12));
        buf_putc(out, (char)(0x80 | (code >> 6 & 63)));
        buf_putc(out, (char)(0x80 | (code & 63)));
    } else {
        buf_putc(out, (char)(0xf0 | code >> 18));
        buf_putc(out, (char)(0x80 | (code >> 12 & 63)));
        buf_putc(out, (char)(0x80 | (code >> 6 & 63)));
        buf_putc(out, (char)(0x80 | (code & 63)));
    }
}

/* at: behind "\u". Returns behind the digits (of both halves of a pair). */
static const char *unescape_unicode(const char *at, const char *end, struct buf *out) {
    int high = hex4(at, end);
    if (high < 0) return NULL;
    at += 4;
    unsigned code = (unsigned)high;
    if (high >= 0xd800 && high < 0xdc00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u') {
        int low = hex4(at + 2, end);
        if (low >= 0xdc00 && low < 0xe000) {
            code = 0x10000 + (((unsigned)high - 0xd800) << 10) + ((unsigned)low - 0xdc00);
            at += 6;
        }
    }
    if (code >= 0xd800 && code < 0xe000) code = 0xfffd; /* half a pair */
    put_utf8(out, code);
    return at;
}

/* at: behind the opening quote. Returns behind the closing one; NULL: no string. out NULL only skips. */
static const char *unescape(const char *at, const char *end, struct buf *out) {
    static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    struct buf dropped = BUF_INIT(SIZE_MAX - 1);
    bool keep = out != NULL;
    if (!keep) out = &dropped;
    while (at != NULL && at < end && *at != '"') {
        const char *plain = at;
        while (at < end && *at != '"' && *at != '\\')
            at++;
        if (keep) buf_append(out, plain, (size_t)(at - plain));
        if (at >= end || *at == '"') break;
        if (++at >= end) break;
        const char *name = *at != '\0' ? strchr(names, *at) : NULL;
        if (*at == 'u') {
            at = unescape_unicode(at + 1, end, out);
            if (!keep) buf_clear(out);
        } else if (name != NULL) {
            if (keep) buf_putc(out, bytes[name - names]);
            at++;
        } else {
            at = NULL;
        }
    }
    buf_free(&dropped);
    return at != NULL && at < end ? at + 1 : NULL;
}

bool json_unescape_member(const char *text, size_t len, const char *name, struct buf *out) {
    const char *at = text, *end = text + len;
    size_t name_len = strlen(name);
    int depth = 0;
    bool expects_name = false, found = false;
    while (at != NULL && at < end) {
        char c = *at++;
        if (c == '"') {
            const char *start = at;
            bool value_of_it = found && depth == 1;
            at = unescape(at, end, value_of_it ? out : NULL);
            if (value_of_it || at == NULL) return at != NULL && !out->failed;
            found =
                expects_name && (size_t)(at - start) == name_len + 1 && memcmp(start, name, name_len) == 0;
            expects_name = false;
        } else if (c == '{' || c == '[') {
            depth++;
            found = false;
            expects_name = depth == 1;
        } else if (c == '}' || c == ']') {
            depth--;
        } else if (c == ',') {
            expects_name = depth == 1;
            found = false;
        }
    }
    return false;
}
