/* Scope cleanup: a variable that closes or frees what it holds when it goes out of scope, and the way to
   take the value out of it again. */
#ifndef UTIL_SCOPE_H
#define UTIL_SCOPE_H

#include <stdlib.h>
#include <unistd.h>

static inline void scope_close(int *fd) {
    if (*fd >= 0) close(*fd);
}

static inline void scope_free(void *pointer) {
    free(*(void **)pointer);
}

static inline int steal_fd(int *fd) {
    int taken = *fd;
    *fd = -1;
    return taken;
}

static inline void *steal_pointer(void *pointer) {
    void *taken = *(void **)pointer;
    *(void **)pointer = NULL;
    return taken;
}

#define cleanup_fd   __attribute__((cleanup(scope_close)))
#define cleanup_free __attribute__((cleanup(scope_free)))

#endif
