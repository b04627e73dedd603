#include "agent/file_path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/host.h"
#include "agent/sandbox.h"
#include "agent/tenant.h"
#include "util/scope.h"
#include "wire/limits.h"

#define LINKS_MAX 40 /* as the kernel's own */

/* The one call that turns a path into a file. Where the machine is the sandbox, links on the way are followed
 * (/bin is one). */
static int resolve(const struct sandbox *sandbox, int at, const char *path, int flags) {
    flags |= O_CLOEXEC | O_NOCTTY;
    const struct tenant *t = sandbox->tenant;
    return t == NULL ? openat(at, path, flags) : agent_host()->resolve(t, at, path, flags);
}

static bool init_free(struct file_path *p, const char *cwd, const char *bytes, size_t len) {
    size_t before = bytes[0] == '/' ? 0 : strlen(cwd) + 1;
    p->text = malloc(before + len + 1);
    if (p->text == NULL) return false;
    if (before > 0) {
        memcpy(p->text, cwd, before - 1);
        p->text[before - 1] = '/';
    }
    memcpy(p->text + before, bytes, len);
    p->len = before + len;
    p->text[p->len] = '\0';
    return true;
}

bool file_path_init(struct file_path *p, const struct sandbox *sandbox, const char *bytes, size_t len,
                    const char **why) {
    *p = (struct file_path){.sandbox = sandbox};
    *why = NULL;
    if (len == 0) *why = "a path is required";
    if (memchr(bytes, '\0', len) != NULL) *why = "a path cannot contain a NUL byte";
    size_t before = sandbox->tenant == NULL && len > 0 && bytes[0] == '/' ? 0 : strlen(sandbox->cwd) + 1;
    if (before + len >= LIMIT_PATH) *why = "the path is longer than 4095 bytes";
    if (*why != NULL) return false;
    bool ok = sandbox->tenant != NULL ? agent_host()->path_init(p, bytes, len)
                                      : init_free(p, sandbox->cwd, bytes, len);
    if (!ok) *why = "out of memory";
    return ok;
}

void file_path_free(struct file_path *p) {
    free(p->text);
    *p = (struct file_path){.text = NULL};
}

/* The end of the path without trailing slashes, and without trailing "." when dots is set. */
static size_t trimmed(const char *path, size_t len, bool dots) {
    for (;;) {
        while (len > 0 && path[len - 1] == '/')
            len--;
        if (!dots || len < 2 || path[len - 1] != '.' || path[len - 2] != '/') return len;
        len--;
    }
}

static size_t last_name(const char *path, size_t end) {
    while (end > 0 && path[end - 1] != '/')
        end--;
    return end;
}

const char *file_path_name(const struct file_path *p, size_t *len) {
    size_t end = trimmed(p->text, p->len, true);
    size_t start = last_name(p->text, end);
    *len = end - start;
    if (*len == 2 && memcmp(p->text + start, "..", 2) == 0) *len = 0;
    return p->text + start;
}

size_t file_path_trimmed(const struct file_path *p) {
    return trimmed(p->text, p->len, true);
}

int file_path_open(const struct file_path *p, int flags) {
    return resolve(p->sandbox, AT_FDCWD, p->text, flags);
}

int file_path_stat(const struct file_path *p, struct stat *st, bool follow) {
    cleanup_fd int fd = resolve(p->sandbox, AT_FDCWD, p->text, O_PATH | (follow ? 0 : O_NOFOLLOW));
    if (fd < 0) return -1;
    return fstat(fd, st);
}

static bool is_dot(const char *name, size_t len) {
    return (len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.');
}

/* Opens the directory `path` (len bytes, changed and restored on the way) as seen from `at`; makes what is
 * missing. */
static int open_directory(const struct sandbox *sandbox, int at, char *path, size_t len, bool make) {
    char end = path[len];
    path[len] = '\0';
    int fd = resolve(sandbox, at, len > 0 ? path : "/", O_PATH | O_DIRECTORY);
    if (fd < 0 && errno == ENOENT && make) {
        /* Component by component, so that no part of the way is resolved twice with different outcomes. */
        size_t root = sandbox->tenant != NULL && at == AT_FDCWD ? strlen(sandbox->tenant->home) : 0;
        fd = root > 0 ? resolve(sandbox, at, sandbox->tenant->home, O_PATH | O_DIRECTORY)
                      : resolve(sandbox, at, path[0] == '/' ? "/" : ".", O_PATH | O_DIRECTORY);
        for (size_t from = root; fd >= 0 && from < len;) {
            size_t to = from;
            while (to < len && path[to] != '/')
                to++;
            if (to > from) {
                char kept = path[to];
                path[to] = '\0';
                int next = -1;
                if (is_dot(path + from, to - from) || mkdirat(fd, path + from, 0700) == 0 || errno == EEXIST)
                    next = resolve(sandbox, fd, path + from, O_PATH | O_DIRECTORY);
                path[to] = kept;
                int error = errno;
                close(fd);
                errno = error;
                fd = next;
            }
            from = to + 1;
        }
    }
    path[len] = end;
    return fd;
}

int file_path_split(const struct sandbox *sandbox, int at, char *path, size_t len, bool make,
                    char name[FILE_NAME_SIZE]) {
    size_t end = trimmed(path, len, false);
    size_t start = last_name(path, end);
    if (end == start || is_dot(path + start, end - start)) {
        errno = EINVAL;
        return -1;
    }
    if (end - start >= FILE_NAME_SIZE) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(name, path + start, end - start);
    name[end - start] = '\0';
    if (start == 0) return resolve(sandbox, at, ".", O_PATH | O_DIRECTORY);
    return open_directory(sandbox, at, path, start, make);
}

int file_path_make(const struct file_path *p) {
    int fd = open_directory(p->sandbox, AT_FDCWD, p->text, p->len, true);
    if (fd >= 0) close(fd);
    return fd >= 0 ? 0 : -1;
}

int file_path_parent(const struct file_path *p, bool make, char name[FILE_NAME_SIZE]) {
    return file_path_split(p->sandbox, AT_FDCWD, p->text, p->len, make, name);
}

int file_path_target(const struct file_path *p, bool make, char name[FILE_NAME_SIZE]) {
    if (p->sandbox->tenant != NULL) return agent_host()->path_target(p, make, name);
    int dir = file_path_parent(p, make, name);
    for (int links = 0; dir >= 0; links++) {
        char target[PATH_MAX];
        ssize_t len = readlinkat(dir, name, target, sizeof target - 1);
        if (len < 0) return dir; /* no link, or nothing there */
        target[len] = '\0';
        int next = -1;
        if (links >= LINKS_MAX) {
            errno = ELOOP;
        } else {
            next = file_path_split(p->sandbox, dir, target, (size_t)len, false, name);
        }
        int error = errno;
        close(dir);
        errno = error;
        dir = next;
    }
    return -1;
}

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif

int file_path_rename(int from_dir, const char *from, int to_dir, const char *to, bool replace) {
    if (replace) return renameat(from_dir, from, to_dir, to);
    if (syscall(SYS_renameat2, from_dir, from, to_dir, to, RENAME_NOREPLACE) == 0) return 0;
    if (errno != EINVAL && errno != ENOSYS) return -1;
    /* A file system without it: looking first leaves a moment in which a command may make the name. */
    struct stat st;
    if (fstatat(to_dir, to, &st, AT_SYMLINK_NOFOLLOW) == 0) errno = EEXIST;
    return errno == ENOENT ? renameat(from_dir, from, to_dir, to) : -1;
}
