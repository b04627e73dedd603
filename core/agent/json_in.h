/* JSON input: the only door to jsmn. A parsed document keeps pointing into the caller's text, which it does not change. */
#ifndef AGENT_JSON_IN_H
#define AGENT_JSON_IN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"

struct json_doc;
typedef int json_at; /* an index into the document; the root is 0; -1 = absent */

enum json_type { JSON_ABSENT, JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* NULL with *why set when the text is no strict JSON document (depth at most LIMIT_JSON_DEPTH, tokens at most
   LIMIT_JSON_TOKENS, valid UTF-8 not required inside strings: bytes stay as they are). */
struct json_doc *json_in_parse(const char *text, size_t len, const char **why);
void json_in_free(struct json_doc *d);

enum json_type json_in_type(const struct json_doc *d, json_at at);
json_at json_in_get(const struct json_doc *d, json_at object, const char *key); /* the last of that name */
json_at json_in_first(const struct json_doc *d, json_at container);            /* first item, or key of an object; -1 = empty */
json_at json_in_next(const struct json_doc *d, json_at at);                    /* next sibling item or key; -1 = none */
json_at json_in_value(const struct json_doc *d, json_at key);
size_t json_in_size(const struct json_doc *d, json_at container);

/* Appends the decoded string. False: no string, a bad escape, or a NUL character when nul_ok is false. */
bool json_in_string(const struct json_doc *d, json_at at, struct buf *out, bool nul_ok);
char *json_in_strdup(const struct json_doc *d, json_at at); /* NULL like above; the caller frees */
bool json_in_bool(const struct json_doc *d, json_at at, bool *out);
bool json_in_milli(const struct json_doc *d, json_at at, int64_t *out); /* any number, in thousandths, away from 0 */
bool json_in_u64(const struct json_doc *d, json_at at, uint64_t *out);  /* a whole non-negative number */

/* The text of a scalar as a string: strings decoded, numbers and booleans as written (an environment value may be 1 or true).
   False for null, arrays and objects. */
bool json_in_scalar(const struct json_doc *d, json_at at, struct buf *out);

#endif
