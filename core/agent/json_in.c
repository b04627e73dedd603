/* jsmn finds the tokens, but lets pass much that is no JSON (missing commas and colons, numbers of any form).
   So a reader of the strict grammar goes over the text first; it counts the tokens too, which makes one
   allocation enough. */
#include "agent/json_in.h"

#define JSMN_STATIC
#define JSMN_STRICT
#define JSMN_PARENT_LINKS
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include <jsmn.h>
#pragma GCC diagnostic pop

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "util/text.h"
#include "wire/limits.h"

struct json_doc {
    const char *text;
    int count;
    jsmntok_t tokens[];
};

struct reader {
    const char *at;
    const char *end;
    size_t tokens;
    int depth;
    const char *why;
};

static bool refuse(struct reader *r, const char *why) {
    if (r->why == NULL) r->why = why;
    return false;
}

static void skip_space(struct reader *r) {
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
        r->at++;
}

static bool eat(struct reader *r, char c) {
    if (r->at >= r->end || *r->at != c) return false;
    r->at++;
    return true;
}

static bool is_hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool read_string(struct reader *r) {
    if (!eat(r, '"')) return refuse(r, "a string was expected");
    r->tokens++;
    while (r->at < r->end) {
        char c = *r->at++;
        if (c == '"') return true;
        if ((unsigned char)c < 0x20) return refuse(r, "a control character in a string");
        if (c != '\\') continue;
        if (r->at >= r->end) break;
        c = *r->at++;
        if (c == 'u') {
            for (int i = 0; i < 4; i++)
                if (r->at >= r->end || !is_hex(*r->at++)) return refuse(r, "a malformed \\u escape");
        } else if (c == '\0' || strchr("\"\\/bfnrt", c) == NULL) {
            return refuse(r, "an unknown escape");
        }
    }
    return refuse(r, "a string without end");
}

static bool read_digits(struct reader *r) {
    const char *start = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9')
        r->at++;
    return r->at > start || refuse(r, "a malformed number");
}

static bool read_number(struct reader *r) {
    r->tokens++;
    eat(r, '-');
    if (!eat(r, '0') && !read_digits(r)) return false;
    if (eat(r, '.') && !read_digits(r)) return false;
    if (eat(r, 'e') || eat(r, 'E')) {
        if (!eat(r, '+')) eat(r, '-');
        if (!read_digits(r)) return false;
    }
    return true;
}

static bool read_word(struct reader *r, const char *word) {
    size_t len = strlen(word);
    r->tokens++;
    if ((size_t)(r->end - r->at) < len || memcmp(r->at, word, len) != 0) return refuse(r, "an unknown word");
    r->at += len;
    return true;
}

static bool read_value(struct reader *r);

static bool read_container(struct reader *r, bool object) {
    char close = object ? '}' : ']';
    if (++r->depth > LIMIT_JSON_DEPTH) return refuse(r, "nested too deeply");
    r->at++;
    r->tokens++;
    skip_space(r);
    bool closed = eat(r, close);
    while (!closed) {
        skip_space(r);
        if (object) {
            if (!read_string(r)) return false;
            skip_space(r);
            if (!eat(r, ':')) return refuse(r, "a ':' is missing");
        }
        if (!read_value(r)) return false;
        closed = eat(r, close);
        if (!closed && !eat(r, ',')) return refuse(r, "a ',' or the end of an object or array is missing");
    }
    r->depth--;
    return true;
}

static bool read_value(struct reader *r) {
    skip_space(r);
    if (r->at >= r->end) return refuse(r, "the document ends too early");
    bool ok;
    switch (*r->at) {
    case '{':
    case '[':
        ok = read_container(r, *r->at == '{');
        break;
    case '"':
        ok = read_string(r);
        break;
    case 't':
        ok = read_word(r, "true");
        break;
    case 'f':
        ok = read_word(r, "false");
        break;
    case 'n':
        ok = read_word(r, "null");
        break;
    default:
        ok = read_number(r);
    }
    skip_space(r);
    return ok && (r->tokens <= LIMIT_JSON_TOKENS || refuse(r, "too many items"));
}

struct json_doc *json_in_parse(const char *text, size_t len, const char **why) {
    struct reader r = {.at = text, .end = text + len};
    *why = "the document is too long";
    if (len > INT_MAX) return NULL;
    skip_space(&r);
    *why = "neither an object nor an array";
    if (r.at >= r.end || (*r.at != '{' && *r.at != '[')) return NULL;
    if (read_value(&r) && r.at < r.end) refuse(&r, "something follows the document");
    *why = r.why;
    if (r.why != NULL) return NULL;
    struct json_doc *d = malloc(sizeof *d + r.tokens * sizeof d->tokens[0]);
    *why = "out of memory";
    if (d == NULL) return NULL;
    jsmn_parser parser;
    jsmn_init(&parser);
    d->text = text;
    d->count = jsmn_parse(&parser, text, len, d->tokens, (unsigned)r.tokens);
    if (d->count > 0) return d;
    *why = "malformed";
    free(d);
    return NULL;
}

void json_in_free(struct json_doc *d) {
    free(d);
}

static const jsmntok_t *token(const struct json_doc *d, json_at at) {
    return at >= 0 && at < d->count ? &d->tokens[at] : NULL;
}

enum json_type json_in_type(const struct json_doc *d, json_at at) {
    const jsmntok_t *t = token(d, at);
    if (t == NULL) return JSON_ABSENT;
    if (t->type == JSMN_OBJECT) return JSON_OBJECT;
    if (t->type == JSMN_ARRAY) return JSON_ARRAY;
    if (t->type == JSMN_STRING) return JSON_STRING;
    char c = d->text[t->start];
    return c == 'n' ? JSON_NULL : c == 't' || c == 'f' ? JSON_BOOL : JSON_NUMBER;
}

json_at json_in_first(const struct json_doc *d, json_at container) {
    const jsmntok_t *t = token(d, container);
    bool items = t != NULL && (t->type == JSMN_OBJECT || t->type == JSMN_ARRAY) && t->size > 0;
    return items ? container + 1 : -1;
}

/* The first token after `at` and everything in it. */
static json_at after(const struct json_doc *d, json_at at) {
    json_at next = at + 1;
    while (next < d->count && d->tokens[next].start < d->tokens[at].end)
        next++;
    return next;
}

static bool is_key(const struct json_doc *d, json_at at) {
    int parent = d->tokens[at].parent;
    return parent >= 0 && d->tokens[parent].type == JSMN_OBJECT;
}

json_at json_in_next(const struct json_doc *d, json_at at) {
    const jsmntok_t *t = token(d, at);
    if (t == NULL || t->parent < 0) return -1;
    json_at next = after(d, is_key(d, at) ? at + 1 : at);
    return next < d->count && d->tokens[next].parent == t->parent ? next : -1;
}

json_at json_in_value(const struct json_doc *d, json_at key) {
    return token(d, key) != NULL && is_key(d, key) ? key + 1 : -1;
}

size_t json_in_size(const struct json_doc *d, json_at container) {
    return json_in_first(d, container) < 0 ? 0 : (size_t)d->tokens[container].size;
}

static unsigned hex4(const char *text) {
    unsigned value = 0;
    for (int i = 0; i < 4; i++) {
        unsigned c = (unsigned char)text[i];
        value = value * 16 + (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value;
}

static bool put_utf8(struct buf *out, unsigned c) {
    unsigned char b[4];
    size_t len = 0;
    if (c < 0x80) {
        b[len++] = (unsigned char)c;
    } else if (c < 0x800) {
        b[len++] = (unsigned char)(0xC0 | c >> 6);
        b[len++] = (unsigned char)(0x80 | (c & 0x3F));
    } else {
        if (c < 0x10000) {
            b[len++] = (unsigned char)(0xE0 | c >> 12);
        } else {
            b[len++] = (unsigned char)(0xF0 | c >> 18);
            b[len++] = (unsigned char)(0x80 | (c >> 12 & 0x3F));
        }
        b[len++] = (unsigned char)(0x80 | (c >> 6 & 0x3F));
        b[len++] = (unsigned char)(0x80 | (c & 0x3F));
    }
    return buf_append(out, b, len);
}

/* text points at the backslash of an escape that read_string accepted; returns its length, or 0: half of a
 * surrogate pair. */
static size_t put_escape(struct buf *out, const char *text, size_t left) {
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    if (text[1] != 'u') {
        const char *plain = strchr(from, text[1]);
        buf_putc(out, plain != NULL ? to[plain - from] : text[1]);
        return 2;
    }
    unsigned c = hex4(text + 2);
    if (c < 0xD800 || c > 0xDFFF) {
        put_utf8(out, c);
        return 6;
    }
    if (c > 0xDBFF || left < 12 || text[6] != '\\' || text[7] != 'u') return 0;
    unsigned low = hex4(text + 8);
    if (low < 0xDC00 || low > 0xDFFF) return 0;
    put_utf8(out, 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00));
    return 12;
}

bool json_in_string(const struct json_doc *d, json_at at, struct buf *out, bool nul_ok) {
    if (json_in_type(d, at) != JSON_STRING) return false;
    const char *text = d->text + d->tokens[at].start, *end = d->text + d->tokens[at].end;
    size_t start = out->len;
    if (!buf_append(out, "", 0)) return false;
    while (text < end) {
        const char *escape = memchr(text, '\\', (size_t)(end - text));
        size_t plain = (size_t)((escape != NULL ? escape : end) - text);
        if (!buf_append(out, text, plain)) return false;
        text += plain;
        if (escape == NULL) break;
        size_t used = put_escape(out, text, (size_t)(end - text));
        if (used == 0 || out->failed) return false;
        text += used;
    }
    return nul_ok || memchr(out->data + start, '\0', out->len - start) == NULL;
}

char *json_in_strdup(const struct json_doc *d, json_at at) {
    struct buf out = BUF_INIT(LIMIT_JSON_BODY);
    if (json_in_string(d, at, &out, false)) return buf_take(&out);
    buf_free(&out);
    return NULL;
}

json_at json_in_get(const struct json_doc *d, json_at object, const char *key) {
    json_at found = -1;
    if (json_in_type(d, object) != JSON_OBJECT) return -1;
    size_t len = strlen(key);
    for (json_at at = json_in_first(d, object); at >= 0; at = json_in_next(d, at)) {
        const jsmntok_t *t = &d->tokens[at];
        const char *text = d->text + t->start;
        size_t raw = (size_t)(t->end - t->start);
        bool same = raw == len && memcmp(text, key, len) == 0;
        if (!same && raw > len && memchr(text, '\\', raw) != NULL) {
            struct buf plain = BUF_INIT(LIMIT_JSON_BODY);
            same =
                json_in_string(d, at, &plain, true) && plain.len == len && memcmp(plain.data, key, len) == 0;
            buf_free(&plain);
        }
        if (same) found = at + 1;
    }
    return found;
}

bool json_in_bool(const struct json_doc *d, json_at at, bool *out) {
    if (json_in_type(d, at) != JSON_BOOL) return false;
    *out = d->text[d->tokens[at].start] == 't';
    return true;
}

static bool decimal(const struct json_doc *d, json_at at, int places, uint64_t *out, bool *rest,
                    bool *minus) {
    if (json_in_type(d, at) != JSON_NUMBER) return false;
    const jsmntok_t *t = &d->tokens[at];
    *minus = d->text[t->start] == '-';
    int start = t->start + *minus;
    return text_decimal(d->text + start, (size_t)(t->end - start), places, out, rest);
}

bool json_in_milli(const struct json_doc *d, json_at at, int64_t *out) {
    uint64_t value;
    bool rest, minus;
    if (!decimal(d, at, 3, &value, &rest, &minus)) return false;
    if (value >= INT64_MAX) value = INT64_MAX - 1;
    if (rest) value++;
    *out = minus ? -(int64_t)value : (int64_t)value;
    return true;
}

bool json_in_u64(const struct json_doc *d, json_at at, uint64_t *out) {
    if (json_in_type(d, at) != JSON_NUMBER) return false;
    const jsmntok_t *t = &d->tokens[at];
    if (text_u64(d->text + t->start, (size_t)(t->end - t->start), out)) return true;
    /* Languages without integers write 7.0. */
    uint64_t value;
    bool rest, minus;
    if (!decimal(d, at, 0, &value, &rest, &minus) || rest || (minus && value > 0)) return false;
    if (value > UINT64_C(9007199254740992)) return false;
    *out = value;
    return true;
}

bool json_in_scalar(const struct json_doc *d, json_at at, struct buf *out) {
    enum json_type type = json_in_type(d, at);
    if (type == JSON_STRING) return json_in_string(d, at, out, false);
    if (type != JSON_NUMBER && type != JSON_BOOL) return false;
    const jsmntok_t *t = &d->tokens[at];
    return buf_append(out, d->text + t->start, (size_t)(t->end - t->start));
}
