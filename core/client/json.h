/* JSON: reading through cJSON (this is its only door), writing into a buffer. */
#ifndef CLIENT_JSON_H
#define CLIENT_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"

struct json; /* a value; members and items belong to the value that was parsed */

struct json *
json_parse(const char *text,
           size_t len); /* NULL: no JSON, or no memory. Nothing but spaces may follow the value. */
void json_free(struct json *value);

/* All accept NULL and values of another type, and give the default then. */
const struct json *json_get(const struct json *object, const char *name); /* NULL = no such member */
const struct json *json_at(const struct json *array, size_t index);
size_t json_count(const struct json *array);
const struct json *json_first(const struct json *array_or_object); /* iteration without an index */
const struct json *json_next(const struct json *item);
const char *json_name(const struct json *member);
bool json_is_object(const struct json *value);
bool json_is_array(const struct json *value);
bool json_is_null(const struct json *value);
const char *json_text(const struct json *value);                      /* NULL unless a string */
const char *json_string(const struct json *object, const char *name); /* the member's text, or NULL */
bool json_bool(const struct json *object, const char *name, bool otherwise);
int64_t json_int(const struct json *object, const char *name,
                 int64_t otherwise); /* numbers beyond 2^53 are clamped */
uint64_t json_uint(const struct json *object, const char *name, uint64_t otherwise);
/* Without the member, or with null for it, *out is `otherwise`. False: it is no whole number from least to
 *most; out is `otherwise`, too. */
bool json_int_within(const struct json *object, const char *name, int least, int most, int otherwise,
                     int *out);

/* Appends the bytes of the string member `name` of the object in text, which json_parse accepts; NUL bytes
 * included. */
bool json_unescape_member(const char *text, size_t len, const char *name, struct buf *out);

/* Writing: `"text"` with what JSON escapes; bytes of 0x80 and above are copied as they are. */
bool json_put(struct buf *out, const char *text, size_t len);
bool json_put_text(struct buf *out, const char *text); /* NUL-terminated; NULL = null */
bool json_put_base64(struct buf *out, const void *data, size_t len);
bool json_put_array(struct buf *out, const char *const *items); /* NULL-terminated strings */
bool json_put_env(struct buf *out,
                  const char *const *env); /* "NAME=value" strings as {"NAME":"value"}; later ones win */

#endif
