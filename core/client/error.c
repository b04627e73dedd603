#include "client/error.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/json.h"
#include "wire/codes.h"

static void fill(sbx_error *err, sbx_status code, int http_status, int error_number, const char *format,
                 va_list args) {
    if (err == NULL) return;
    /* The caller's own arguments may point into *err. */
    char message[sizeof err->message];
    vsnprintf(message, sizeof message, format, args);
    for (char *c = message; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    }
    err->code = code;
    err->http_status = http_status;
    err->system_errno = error_number;
    memcpy(err->message, message, sizeof message);
}

sbx_status error_set(sbx_error *err, sbx_status code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fill(err, code, 0, 0, format, args);
    va_end(args);
    return code;
}

sbx_status error_system(sbx_error *err, int error_number, const char *format, ...) {
    if (err == NULL) return SBX_ERROR_SYSTEM;
    char what[sizeof err->message];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    char reason[128];
    const char *text = strerror_r(error_number, reason, sizeof reason);
    const char *more =
        error_number == EFBIG ? " (RLIMIT_FSIZE, ulimit -f, limits what this program writes)" : "";
    error_set(err, SBX_ERROR_SYSTEM, "%s: %s%s", what, text, more);
    err->system_errno = error_number;
    return SBX_ERROR_SYSTEM;
}

sbx_status error_memory(sbx_error *err) {
    return error_set(err, SBX_ERROR_MEMORY, "out of memory");
}

sbx_status error_copy(sbx_error *err, const sbx_error *from) {
    if (err != NULL && err != from) *err = *from;
    return from->code;
}

static sbx_status status_of_code(enum wire_code code) {
    switch (code) {
    case WIRE_INVALID:
    case WIRE_NOT_REGULAR:
        return SBX_ERROR_INVALID;
    case WIRE_SPAWN:
        return SBX_ERROR_SPAWN;
    case WIRE_FORBIDDEN:
        return SBX_ERROR_AUTH;
    case WIRE_NOT_FOUND:
    case WIRE_NO_PROCESS:
    case WIRE_NO_SANDBOX:
        return SBX_ERROR_NOT_FOUND;
    case WIRE_NO_ROUTE:
        return SBX_ERROR_UNSUPPORTED;
    case WIRE_TIMEOUT:
    case WIRE_UNREACHABLE:
        return SBX_ERROR_CONNECTION;
    case WIRE_IS_DIRECTORY:
        return SBX_ERROR_IS_DIRECTORY;
    case WIRE_CONFLICT:
        return SBX_ERROR_CONFLICT;
    case WIRE_GONE:
        return SBX_ERROR_GONE;
    case WIRE_MISMATCH:
        return SBX_ERROR_MISMATCH;
    case WIRE_TOO_LARGE:
        return SBX_ERROR_TOO_LARGE;
    case WIRE_NOT_EMPTY:
        return SBX_ERROR_NOT_EMPTY;
    case WIRE_NOT_DIRECTORY:
        return SBX_ERROR_NOT_DIRECTORY;
    case WIRE_EXISTS:
        return SBX_ERROR_EXISTS;
    case WIRE_DENIED:
        return SBX_ERROR_DENIED;
    case WIRE_BUSY:
        return SBX_ERROR_BUSY;
    case WIRE_NO_SPACE:
        return SBX_ERROR_NO_SPACE;
    case WIRE_SYSTEM:
        return SBX_ERROR_SYSTEM;
    case WIRE_INTERNAL:
        return SBX_ERROR_INTERNAL;
    case WIRE_OK:
    case WIRE_CODE_COUNT:
        break;
    }
    return SBX_OK;
}

/* The Hub's own server gives a text and no code. */
static sbx_status status_of_http(int http_status, const char *text) {
    switch (http_status) {
    case 400:
        return strncmp(text, "failed to spawn", 15) == 0 ? SBX_ERROR_SPAWN : SBX_ERROR_INVALID;
    case 401:
    case 403:
        return SBX_ERROR_AUTH;
    case 404:
        return strncmp(text, "no route", 8) == 0 ? SBX_ERROR_UNSUPPORTED : SBX_ERROR_NOT_FOUND;
    case 405:
    case 501:
        return SBX_ERROR_UNSUPPORTED;
    case 408:
        return SBX_ERROR_CONNECTION;
    case 409:
        return strstr(text, "directory") != NULL ? SBX_ERROR_IS_DIRECTORY : SBX_ERROR_CONFLICT;
    case 410:
        return SBX_ERROR_GONE;
    case 412:
        return SBX_ERROR_MISMATCH;
    case 413:
        return SBX_ERROR_TOO_LARGE;
    case 429:
    case 503:
        return SBX_ERROR_BUSY;
    case 502:
    case 504:
        return SBX_ERROR_CONNECTION;
    case 507:
        return SBX_ERROR_NO_SPACE;
    default:
        return http_status >= 500 ? SBX_ERROR_INTERNAL : SBX_ERROR_PROTOCOL;
    }
}

sbx_status error_from_reply(sbx_error *err, const char *what, int http_status, const char *body, size_t len) {
    sbx_error local;
    if (err == NULL) err = &local;
    struct json *reply = len > 0 ? json_parse(body, len) : NULL;
    const char *text = json_string(reply, "error");
    const char *name = json_string(reply, "code");
    sbx_status status = name != NULL ? status_of_code(codes_find(name)) : SBX_OK;
    if (status == SBX_OK) status = status_of_http(http_status, text != NULL ? text : "");
    if (text != NULL) {
        error_set(err, status, "%s: %s", what, text);
    } else {
        error_set(err, status, "%s: the peer answered with status %d and no explanation", what, http_status);
    }
    err->http_status = http_status;
    json_int_within(reply, "errno", 0, INT_MAX, 0, &err->system_errno);
    json_free(reply);
    return status;
}

sbx_status error_options(void *ours, size_t ours_size, const void *given, size_t least, const char *name,
                         sbx_error *err) {
    memset(ours, 0, ours_size);
    if (given != NULL) {
        size_t size;
        memcpy(&size, given, sizeof size);
        if (size < least) {
            return error_set(err, SBX_ERROR_INVALID,
                             "%s.size is %zu, less than any version of it: initialise it with its INIT macro",
                             name, size);
        }
        if (size > ours_size) {
            if (size > ours_size + 4096) {
                return error_set(err, SBX_ERROR_INVALID, "%s.size is %zu: initialise it with its INIT macro",
                                 name, size);
            }
            for (size_t i = ours_size; i < size; i++) {
                if (((const unsigned char *)given)[i] != 0) {
                    return error_set(
                        err, SBX_ERROR_UNSUPPORTED,
                        "%s has a field set (at byte %zu) that this library, version " SBX_VERSION
                        ", does not know: update the library or leave it 0",
                        name, i);
                }
            }
        }
        memcpy(ours, given, size < ours_size ? size : ours_size);
    }
    memcpy(ours, &ours_size, sizeof ours_size);
    return SBX_OK;
}

const char *sbx_status_name(sbx_status status) {
    switch (status) {
#define STATUS_NAME(name, value, text)                                                                       \
    case SBX_##name:                                                                                         \
        return #name;
        SBX_STATUS_TABLE(STATUS_NAME)
#undef STATUS_NAME
    }
    return "UNKNOWN";
}

const char *sbx_status_text(sbx_status status) {
    switch (status) {
#define STATUS_TEXT(name, value, text)                                                                       \
    case SBX_##name:                                                                                         \
        return text;
        SBX_STATUS_TABLE(STATUS_TEXT)
#undef STATUS_TEXT
    }
    return "unknown status";
}
