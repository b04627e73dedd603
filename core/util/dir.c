#include "util/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BYTES 4096 /* of one call */

bool dir_open(struct dir *d, int fd) {
    *d = (struct dir){.fd = fd};
    if (fd < 0) return false;
    d->bytes = malloc(BYTES);
    if (d->bytes != NULL) return true;
    close(fd);
    errno = ENOMEM;
    return false;
}

bool dir_open_path(struct dir *d, const char *path) {
    return dir_open(d, open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static bool is_dots(const char *name) {
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

const struct dir_entry *dir_next(struct dir *d) {
    for (;;) {
        if (d->at == d->len) {
            long got = syscall(SYS_getdents64, d->fd, d->bytes, BYTES);
            d->failed = got < 0;
            if (got <= 0) return NULL;
            d->at = 0;
            d->len = (size_t)got;
        }
        const struct dir_entry *e = (const struct dir_entry *)(const void *)(d->bytes + d->at);
        d->at += e->size;
        if (!is_dots(e->name)) return e;
    }
}

void dir_rewind(struct dir *d) {
    d->at = d->len = 0;
    d->failed = lseek(d->fd, 0, SEEK_SET) < 0;
}

void dir_close(struct dir *d) {
    if (d->bytes == NULL) return;
    int error = errno;
    close(d->fd);
    free(d->bytes);
    *d = (struct dir){.fd = -1};
    errno = error;
}
