/* The codes of the agent's errors. Each error response is {"error": text, "code": name}. One table for both sides:
   X(NAME, "name", usual HTTP status). */
#ifndef WIRE_CODES_H
#define WIRE_CODES_H

#define WIRE_CODES(X)                                                                                                      \
    X(INVALID, "invalid", 400)            /* the request is malformed or contradicts itself */                             \
    X(SPAWN, "spawn", 400)                /* the command could not be started; "errno" holds why */                        \
    X(FORBIDDEN, "forbidden", 403)        /* the token is missing or wrong */                                              \
    X(NOT_FOUND, "not_found", 404)        /* no such file */                                                               \
    X(NO_ROUTE, "no_route", 404)          /* no such route */                                                              \
    X(NO_PROCESS, "no_process", 404)      /* no such process */                                                            \
    X(NO_SANDBOX, "no_sandbox", 404)      /* no such sandbox in this host */                                               \
    X(TIMEOUT, "timeout", 408)            /* the peer was too slow */                                                      \
    X(IS_DIRECTORY, "is_directory", 409)  /* a file was needed */                                                          \
    X(CONFLICT, "conflict", 409)          /* the state does not allow it now */                                            \
    X(GONE, "gone", 410)                  /* it was there and is no longer held (output, or the memory of a client key) */ \
    X(MISMATCH, "mismatch", 412)          /* an entity tag does not match */                                               \
    X(TOO_LARGE, "too_large", 413)        /* over a limit of limits.h */                                                   \
    X(NOT_EMPTY, "not_empty", 400)        /* a directory with entries */                                                   \
    X(NOT_DIRECTORY, "not_directory", 400)                                                                                 \
    X(NOT_REGULAR, "not_regular", 400)                                                                                     \
    X(EXISTS, "exists", 409)                                                                                               \
    X(DENIED, "denied", 400)              /* the file system says no (EACCES, EPERM, EROFS) */                             \
    X(BUSY, "busy", 503)                  /* a limit on what runs at once */                                               \
    X(UNREACHABLE, "unreachable", 502)    /* nothing answers at that port */                                               \
    X(NO_SPACE, "no_space", 507)          /* ENOSPC, EDQUOT, EFBIG */                                                      \
    X(SYSTEM, "system", 400)              /* the system refused a file operation for another reason, which the text says */ \
    X(INTERNAL, "internal", 500)

enum wire_code {
    WIRE_OK = 0,
#define WIRE_ENUM(name, text, http) WIRE_##name,
    WIRE_CODES(WIRE_ENUM)
#undef WIRE_ENUM
        WIRE_CODE_COUNT
};

const char *codes_name(enum wire_code code);
int codes_http(enum wire_code code);
enum wire_code codes_find(const char *name);      /* WIRE_OK when unknown */
enum wire_code codes_from_errno(int error_number); /* of a file operation */

#endif
