#include "json_read.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "print.h"

#define DEPTH 32

struct reader {
    const char *at, *end;
};

static void skip_space(struct reader *r) {
    while (r->at < r->end && strchr(" \t\r\n", *r->at) && *r->at)
        r->at++;
}

static bool take(struct reader *r, const char *word) {
    size_t len = strlen(word);
    if ((size_t)(r->end - r->at) < len || memcmp(r->at, word, len) != 0) return false;
    r->at += len;
    return true;
}

static bool read_hex(struct reader *r, uint32_t *out) {
    if (r->end - r->at < 4) return false;
    *out = 0;
    for (int i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef", *found = *r->at ? strchr(digits, *r->at | 0x20) : NULL;
        if (!found) return false;
        *out = *out << 4 | (uint32_t)(found - digits);
        r->at++;
    }
    return true;
}

static char *put_character(char *to, uint32_t code) {
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 63));
    } else if (code < 0x10000) {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 63));
        *to++ = (char)(0x80 | (code & 63));
    } else {
        *to++ = (char)(0xf0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 63));
        *to++ = (char)(0x80 | (code >> 6 & 63));
        *to++ = (char)(0x80 | (code & 63));
    }
    return to;
}

static bool read_escape(struct reader *r, char **to) {
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    if (r->at == r->end) return false;
    char name = *r->at++;
    const char *found = name ? strchr(names, name) : NULL;
    if (found) {
        *(*to)++ = values[found - names];
        return true;
    }
    uint32_t code, low;
    if (name != 'u' || !read_hex(r, &code)) return false;
    if (code >= 0xd800 && code < 0xdc00 && take(r, "\\u")) {
        if (!read_hex(r, &low) || low < 0xdc00 || low > 0xdfff) return false;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    *to = put_character(*to, code >= 0xd800 && code < 0xe000 ? 0xfffd : code);
    return true;
}

/* A string behind its opening quote; decoded it is never longer than it is written. */
static char *read_string(struct reader *r, size_t *len) {
    char *text = print_allocate((size_t)(r->end - r->at) + 1), *to = text;
    while (r->at < r->end && *r->at != '"') {
        if ((unsigned char)*r->at < 0x20) break;
        if (*r->at != '\\') {
            *to++ = *r->at++;
            continue;
        }
        r->at++;
        if (!read_escape(r, &to)) break;
    }
    if (!take(r, "\"")) {
        free(text);
        return NULL;
    }
    *len = (size_t)(to - text);
    *to = 0;
    char *fitted = realloc(text, *len + 1);
    return fitted ? fitted : text;
}

static struct json_value *read_value(struct reader *r, int depth);

static bool read_items(struct reader *r, struct json_value *into, int depth) {
    bool object = into->type == JSON_OBJECT;
    const char *close = object ? "}" : "]";
    struct json_value **tail = &into->first;
    skip_space(r);
    if (take(r, close)) return true;
    do {
        char *name = NULL;
        size_t len;
        skip_space(r);
        if (object) {
            if (!take(r, "\"") || !(name = read_string(r, &len))) return false;
            skip_space(r);
            if (!take(r, ":")) return free(name), false;
        }
        struct json_value *item = read_value(r, depth);
        if (!item) return free(name), false;
        item->name = name;
        *tail = item;
        tail = &item->next;
        skip_space(r);
    } while (take(r, ","));
    return take(r, close);
}

static struct json_value *read_value(struct reader *r, int depth) {
    struct json_value *value = print_allocate(sizeof *value);
    bool good = true;
    skip_space(r);
    if (take(r, "null")) {
        value->type = JSON_NULL;
    } else if (take(r, "true")) {
        value->type = JSON_TRUE;
    } else if (take(r, "false")) {
        value->type = JSON_FALSE;
    } else if (take(r, "\"")) {
        value->type = JSON_STRING;
        good = (value->text = read_string(r, &value->len)) != NULL;
    } else if (take(r, "[") || take(r, "{")) {
        value->type = r->at[-1] == '[' ? JSON_ARRAY : JSON_OBJECT;
        good = depth < DEPTH && read_items(r, value, depth + 1);
    } else {
        value->type = JSON_NUMBER;
        const char *begin = r->at;
        while (r->at < r->end && *r->at && strchr("+-.0123456789eE", *r->at))
            r->at++;
        value->len = (size_t)(r->at - begin);
        value->text = print_allocate(value->len + 1);
        memcpy(value->text, begin, value->len);
        good = value->len > 0;
    }
    if (good) return value;
    json_read_free(value);
    return NULL;
}

struct json_value *json_read(const char *text, size_t len) {
    struct reader r = {text, text + len};
    struct json_value *value = read_value(&r, 0);
    skip_space(&r);
    if (r.at == r.end) return value;
    json_read_free(value);
    return NULL;
}

void json_read_free(struct json_value *value) {
    while (value) {
        struct json_value *next = value->next;
        json_read_free(value->first);
        free(value->name);
        free(value->text);
        free(value);
        value = next;
    }
}

const struct json_value *json_read_member(const struct json_value *object, const char *name) {
    if (!object || object->type != JSON_OBJECT) return NULL;
    for (const struct json_value *item = object->first; item; item = item->next) {
        if (strcmp(item->name, name) == 0) return item;
    }
    return NULL;
}
