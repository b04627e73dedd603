#include "agent/file_beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/sandbox.h"
#include "agent/tenant.h"
#include "util/testing.h"

#define LINKS_MAX 40 /* as the kernel's own */
#define TRIES     64 /* while renames go on; more would give a sandbox a worker for as long as it likes */

#ifndef RESOLVE_BENEATH
#define RESOLVE_NO_MAGICLINKS 0x02
#define RESOLVE_NO_SYMLINKS   0x04
#define RESOLVE_BENEATH       0x08
#endif
#define NR_OPENAT2 437

/* Beneath the directory `at`: what leads out of it, a planted link for one, is refused by the kernel. */
static int open_beneath(int at, const char *path, int flags, uint64_t more) {
    if (testing_off("files-beneath")) return openat(at, path, flags);
    /* Refused beside O_PATH, where it means nothing. */
    if ((flags & O_PATH) != 0) flags &= ~O_NOCTTY;
    const struct {
        uint64_t flags, mode, resolve;
    } how = {(uint64_t)(unsigned)flags, 0, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | more};
    int fd = -1, tries = 0;
    do
        fd = (int)syscall(NR_OPENAT2, at, path, &how, sizeof how);
    while (fd < 0 && errno == EAGAIN && /* a rename raced with a ".." */
           (++tries < TRIES || testing_off("files-tries")));
    if (fd < 0 && errno == EXDEV) errno = EACCES;
    return fd;
}

int file_beneath_resolve(const struct tenant *t, int at, const char *path, int flags) {
    if (at != AT_FDCWD) return open_beneath(at, path, flags, 0);
    path += strlen(t->home);
    path += strspn(path, "/");
    return open_beneath(t->home_fd, path[0] != '\0' ? path : ".", flags, 0);
}

int file_beneath_exactly(const struct tenant *t, const char *path) {
    return open_beneath(t->home_fd, path, O_PATH | O_CLOEXEC, RESOLVE_NO_SYMLINKS);
}

/* Takes a path of len bytes apart and appends it, name by name, to what stands at text + root, above which
 * ".." does not lead. Returns the new end. */
static size_t append_clamped(char *text, size_t root, const char *bytes, size_t len) {
    size_t end = root;
    for (size_t at = 0; at < len;) {
        size_t next = at;
        while (next < len && bytes[next] != '/')
            next++;
        size_t part = next - at;
        if (part == 2 && bytes[at] == '.' && bytes[at + 1] == '.') {
            while (end > root && text[end - 1] != '/')
                end--;
            if (end > root) end--;
        } else if (part > 0 && !(part == 1 && bytes[at] == '.')) {
            text[end++] = '/';
            memcpy(text + end, bytes + at, part);
            end += part;
        }
        at = next + 1;
    }
    /* "x/" asks for a directory. */
    if (len > 0 && bytes[len - 1] == '/' && end > root) text[end++] = '/';
    text[end] = '\0';
    return end;
}

bool file_beneath_init(struct file_path *p, const char *bytes, size_t len) {
    const char *home = p->sandbox->tenant->home;
    size_t root = strlen(home);
    if (len >= root && memcmp(bytes, home, root) == 0 && (len == root || bytes[root] == '/')) {
        bytes += root;
        len -= root;
    }
    p->text = malloc(root + len + 3);
    if (p->text == NULL) return false;
    memcpy(p->text, home, root);
    p->len = append_clamped(p->text, root, bytes, len);
    return true;
}

static size_t last_name(const char *path) {
    size_t end = strlen(path);
    while (end > 0 && path[end - 1] == '/')
        end--;
    while (end > 0 && path[end - 1] != '/')
        end--;
    return end;
}

/* Where a link in the directory of `path` leads to, as a path from the home on. False: out of it. */
static bool follow_beneath(const struct sandbox *sandbox, char path[PATH_MAX], const char *target) {
    const char *home = sandbox->tenant->home;
    size_t root = strlen(home), from = last_name(path);
    bool own = strncmp(target, home, root) == 0 && target[root] == '/';
    errno = target[0] == '/' && !own ? EACCES : ENAMETOOLONG;
    if (own) from = 0;
    if ((target[0] == '/' && !own) || from + strlen(target) >= PATH_MAX) return false;
    memcpy(path + from, target, strlen(target) + 1);
    return true;
}

int file_beneath_target(const struct file_path *p, bool make, char name[FILE_NAME_SIZE]) {
    char path[PATH_MAX], target[PATH_MAX];
    memcpy(path, p->text, p->len + 1); /* shorter than LIMIT_PATH */
    for (int links = 0; links <= LINKS_MAX; links++) {
        int dir = file_path_split(p->sandbox, AT_FDCWD, path, strlen(path), make, name);
        if (dir < 0) return -1;
        ssize_t len = readlinkat(dir, name, target, sizeof target - 1);
        if (len < 0) return dir;
        close(dir);
        target[len] = '\0';
        if (!follow_beneath(p->sandbox, path, target)) return -1;
        make = false;
    }
    errno = ELOOP;
    return -1;
}
