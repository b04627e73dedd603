#include "agent/file_remove.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/dir.h"
#include "util/testing.h"

#define OPEN_LEVELS 32 /* the deepest levels keep their descriptor and their place in the directory */
#define RESCANS     8  /* times that entries which appear meanwhile are chased in one directory */
#define LEVELS_MAX  1000000

struct level {
    struct dir dir; /* closed when it is not among the deepest, to be opened again from its child */
    dev_t dev;
    ino_t ino;
    int64_t place; /* where to go on reading */
    int rescans;
    char *name;
};

struct file_remove {
    int base;
    char *name;
    struct level *levels;
    size_t depth, cap;
    bool started;
};

struct file_remove *file_remove_new(int directory, const char *name) {
    struct file_remove *r = calloc(1, sizeof *r);
    char *copy = strdup(name);
    if (r == NULL || copy == NULL) {
        free(r);
        free(copy);
        return NULL;
    }
    r->base = directory;
    r->name = copy;
    return r;
}

static void pop(struct file_remove *r) {
    struct level *l = &r->levels[--r->depth];
    dir_close(&l->dir);
    free(l->name);
}

void file_remove_free(struct file_remove *r) {
    if (r == NULL) return;
    while (r->depth > 0)
        pop(r);
    free(r->levels);
    free(r->name);
    free(r);
}

/* A directory below `at`, on the same mount: a mount point (also of the same file system) gives EXDEV. */
static int open_child(int at, const char *name, dev_t dev) {
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    if (testing_off("files-nofollow")) return openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (testing_off("files-mount")) return openat(at, name, flags);
    struct open_how how = {.flags = (unsigned)flags, .resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS};
    int fd = (int)syscall(SYS_openat2, at, name, &how, sizeof how);
    if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) return fd;
    fd = openat(at, name, flags);
    struct stat st;
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == dev) return fd;
    if (fd >= 0) {
        close(fd);
        errno = EXDEV;
    }
    return -1;
}

static bool push(struct file_remove *r, int at, const char *name, dev_t dev) {
    if (r->depth == LEVELS_MAX) {
        errno = ENAMETOOLONG;
        return false;
    }
    if (r->depth == r->cap) {
        size_t cap = r->cap == 0 ? 16 : 2 * r->cap;
        struct level *grown = realloc(r->levels, cap * sizeof *grown);
        if (grown == NULL) return false;
        r->levels = grown;
        r->cap = cap;
    }
    struct stat st;
    struct level l = {.place = 0};
    if (!dir_open(&l.dir, open_child(at, name, dev))) return false;
    l.name = strdup(name);
    if (l.name == NULL || fstat(l.dir.fd, &st) != 0) {
        dir_close(&l.dir);
        free(l.name);
        errno = ENOMEM;
        return false;
    }
    l.dev = st.st_dev;
    l.ino = st.st_ino;
    r->levels[r->depth++] = l;
    if (r->depth > OPEN_LEVELS) dir_close(&r->levels[r->depth - OPEN_LEVELS - 1].dir);
    return true;
}

/* Opens a level again as the parent of the one below it. Somebody may have moved that one away; then its
   parent is another directory, and nothing there is ours to remove. */
static bool reopen(struct file_remove *r, size_t index) {
    struct level *l = &r->levels[index];
    if (l->dir.bytes != NULL) return true;
    struct stat st;
    int parent = openat(r->levels[index + 1].dir.fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!dir_open(&l->dir, parent)) return false;
    bool same = fstat(parent, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino;
    if (same && lseek(parent, l->place, SEEK_SET) >= 0) return true;
    if (!same) errno = ESTALE;
    dir_close(&l->dir);
    return false;
}

/* Removes what is no directory. What is one becomes the deepest level. */
static bool remove_entry(struct file_remove *r, int at, const char *name, bool directory, dev_t dev) {
    if (!directory) {
        if (unlinkat(at, name, 0) == 0 || errno == ENOENT) return true;
        if (errno != EISDIR) return false;
    }
    if (push(r, at, name, dev) || errno == ENOENT) return true;
    /* It was a directory when it was read and is none now (ELOOP: a link). */
    return (errno == ENOTDIR || errno == ELOOP) && (unlinkat(at, name, 0) == 0 || errno == ENOENT);
}

/* The deepest level has no more entries: removes it and goes on in the one above. */
static bool finish_level(struct file_remove *r) {
    struct level *l = &r->levels[r->depth - 1];
    if (r->depth > 1 && !reopen(r, r->depth - 2)) return false;
    int parent = r->depth > 1 ? r->levels[r->depth - 2].dir.fd : r->base;
    if (unlinkat(parent, l->name, AT_REMOVEDIR) != 0 && errno != ENOENT) {
        if ((errno != ENOTEMPTY && errno != EEXIST) || l->rescans == RESCANS) return false;
        l->rescans++;
        l->dir.at = l->dir.len = 0;
        return lseek(l->dir.fd, 0, SEEK_SET) == 0;
    }
    pop(r);
    return true;
}

/* One entry or one level. *name is what a failure concerns, NULL = the deepest level itself. */
static bool step(struct file_remove *r, const char **name) {
    *name = NULL;
    if (!r->started) {
        struct stat st;
        r->started = true;
        return fstat(r->base, &st) == 0 && remove_entry(r, r->base, r->name, false, st.st_dev);
    }
    struct level *l = &r->levels[r->depth - 1];
    const struct dir_entry *e = dir_next(&l->dir);
    if (e == NULL) return !l->dir.failed && finish_level(r);
    l->place = e->next;
    *name = e->name;
    bool directory = e->type == DT_DIR || (e->type == DT_LNK && testing_off("files-nofollow"));
    return remove_entry(r, l->dir.fd, e->name, directory, l->dev);
}

static void say_left(const struct file_remove *r, const char *name, struct buf *left) {
    size_t from = r->depth > 6 ? r->depth - 3 : 1;
    buf_puts(left, r->name);
    if (from > 1) buf_printf(left, "/(%zu levels)", from - 1);
    for (size_t i = from; i < r->depth; i++)
        buf_printf(left, "/%s", r->levels[i].name);
    if (name != NULL) buf_printf(left, "/%s", name);
}

enum file_remove_result file_remove_some(struct file_remove *r, int64_t deadline_us, struct buf *left) {
    for (size_t steps = 1; !r->started || r->depth > 0; steps++) {
        const char *name;
        if (!step(r, &name)) {
            int error = errno == EXDEV ? EBUSY : errno;
            say_left(r, name, left);
            errno = error;
            return FILE_REMOVE_FAILED;
        }
        if (steps % 64 == 0 && clock_us() > deadline_us && r->depth > 0) return FILE_REMOVE_MORE;
    }
    return FILE_REMOVED;
}
