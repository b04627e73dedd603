#include "util/rmtree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/dir.h"
#include "util/text.h"

/* What is not empty below the second level moves up to the first under a name of its own; so no recursion is
 * needed. */
struct lift {
    int top;
    unsigned long number;
};

static bool open_dir(struct dir *d, int at, const char *name) {
    return dir_open(d, openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

static bool remove_entry(int at, const char *name) {
    if (unlinkat(at, name, 0) == 0) return true;
    return (errno == EISDIR || errno == EPERM) && unlinkat(at, name, AT_REMOVEDIR) == 0;
}

/* Gives the owner his rights over a directory back, so that it can be read, emptied and moved. Only for
   directories: the descriptor is O_PATH with O_NOFOLLOW, so a link planted meanwhile is never followed. */
static void unlock_dir(int at, const char *name) {
    int fd = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return;
    char path[40];
    text_format(path, sizeof path, "/proc/self/fd/%d", fd);
    (void)!chmod(path, 0700);
    close(fd);
}

static bool lift_entry(struct lift *l, int at, const char *name) {
    for (int tries = 0; tries < 1000; tries++) {
        char to[40];
        text_format(to, sizeof to, ".removed-%lu", l->number++);
        struct stat st;
        if (fstatat(l->top, to, &st, AT_SYMLINK_NOFOLLOW) == 0) continue;
        return renameat(at, name, l->top, to) == 0;
    }
    errno = EEXIST;
    return false;
}

static bool empty_second(struct lift *l, const char *name) {
    unlock_dir(l->top, name);
    struct dir dir;
    if (!open_dir(&dir, l->top, name)) return false;
    bool ok = true;
    for (const struct dir_entry *e; (e = dir_next(&dir)) != NULL;) {
        if (remove_entry(dir.fd, e->name)) continue;
        unlock_dir(dir.fd, e->name);
        ok = lift_entry(l, dir.fd, e->name) && ok;
    }
    dir_close(&dir);
    return ok;
}

bool rmtree_contents(int dir_fd) {
    struct lift l = {.top = dir_fd, .number = 0};
    (void)!fchmod(dir_fd, 0700);
    for (;;) {
        struct dir dir;
        if (!open_dir(&dir, dir_fd, ".")) return false;
        size_t seen = 0, gone = 0;
        int error = 0;
        for (const struct dir_entry *e; (e = dir_next(&dir)) != NULL;) {
            seen++;
            if (remove_entry(dir_fd, e->name) ||
                (empty_second(&l, e->name) && unlinkat(dir_fd, e->name, AT_REMOVEDIR) == 0)) {
                gone++;
            } else {
                error = errno;
            }
        }
        dir_close(&dir);
        if (seen == 0) return true;
        if (gone == 0) {
            errno = error;
            return false;
        }
    }
}
