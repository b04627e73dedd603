#include "wire/codes.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

static const struct {
    const char *name;
    int http;
} table[WIRE_CODE_COUNT] = {[WIRE_OK] = {"ok", 200},
#define WIRE_ROW(code, text, status) [WIRE_##code] = {text, status},
                            WIRE_CODES(WIRE_ROW)
#undef WIRE_ROW
};

const char *codes_name(enum wire_code code) {
    return table[code].name;
}

int codes_http(enum wire_code code) {
    return table[code].http;
}

enum wire_code codes_find(const char *name) {
    for (int i = 1; i < WIRE_CODE_COUNT; i++)
        if (strcmp(table[i].name, name) == 0) return (enum wire_code)i;
    return WIRE_OK;
}

enum wire_code codes_from_errno(int error_number) {
    switch (error_number) {
    case 0:
        return WIRE_OK;
    case ENOENT:
        return WIRE_NOT_FOUND;
    case EISDIR:
        return WIRE_IS_DIRECTORY;
    case ENOTDIR:
        return WIRE_NOT_DIRECTORY;
    case ENOTEMPTY:
        return WIRE_NOT_EMPTY;
    case EEXIST:
        return WIRE_EXISTS;
    case EACCES:
    case EPERM:
    case EROFS:
        return WIRE_DENIED;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return WIRE_NO_SPACE;
    case EINVAL:
    case ELOOP:
    case ENAMETOOLONG:
        return WIRE_INVALID;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return WIRE_BUSY;
    default:
        return WIRE_SYSTEM;
    }
}
