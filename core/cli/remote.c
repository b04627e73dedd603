#include "remote.h"

#include <stdlib.h>
#include <string.h>

#include "print.h"
#include "values.h"

bool remote_parse(struct remote *out, const char *text) {
    *out = (struct remote){0};
    size_t len = values_remote(text);
    if (!len) return false;
    out->id = print_allocate(len + 1);
    memcpy(out->id, text, len);
    out->path = text[len + 1] ? text + len + 1 : ".";
    return true;
}

void remote_free(struct remote *place) {
    free(place->id);
}
