/* Reads a directory through its descriptor. */
#ifndef UTIL_DIR_H
#define UTIL_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As the kernel gives it. */
struct dir_entry {
    uint64_t ino;
    int64_t next; /* where the one after it begins, for lseek */
    uint16_t size;
    uint8_t type; /* DT_DIR and its like */
    char name[];
};

struct dir {
    int fd;
    bool failed;
    size_t at, len;
    char *bytes; /* NULL = closed, as when all is zero */
};

/* Takes fd over; closes it when memory runs out. False with errno then, and when fd is negative. */
bool dir_open(struct dir *d, int fd);
bool dir_open_path(struct dir *d, const char *path);

/* The next entry other than "." and ".."; NULL at the end or, with d->failed and errno, on an error. */
const struct dir_entry *dir_next(struct dir *d);

void dir_rewind(struct dir *d); /* back to the first entry */
void dir_close(struct dir *d);  /* keeps errno; may be closed already */

#endif
