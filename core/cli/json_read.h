/* A small reader of JSON texts that the library hands over whole. */
#ifndef CLI_JSON_READ_H
#define CLI_JSON_READ_H

#include <stdbool.h>
#include <stddef.h>

enum json_type { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_value {
    enum json_type type;
    char *name; /* of a member of an object, else NULL */
    char *text; /* strings decoded (len counts), numbers as written */
    size_t len;
    struct json_value *first; /* of an array or object */
    struct json_value *next;  /* in the same array or object */
};

struct json_value *json_read(const char *text, size_t len); /* NULL: it is no JSON */
void json_read_free(struct json_value *value);
const struct json_value *json_read_member(const struct json_value *object,
                                          const char *name); /* NULL = none */

#endif
