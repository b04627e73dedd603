#include "agent/tenant_home.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/file_remove.h"
#include "util/buf.h"
#include "util/clock.h"
#include "util/dir.h"
#include "util/rmtree.h"
#include "util/scope.h"
#include "util/testing.h"
#include "wire/limits.h"

#define REMOVE_SLICE_US 1000000

static const char *place;
static int place_fd = -1;

/* The directory with its parents, each of which others may pass through but not look into. */
static bool make_place(char *path) {
    for (char *at = path + 1;; at++) {
        if (*at != '/' && *at != '\0') continue;
        char end = *at;
        *at = '\0';
        bool ok = mkdir(path, 0711) == 0 || errno == EEXIST;
        *at = end;
        if (!ok || end == '\0') return ok;
    }
}

bool tenant_home_init(const char *directory) {
    place = directory;
    char *path = strdup(directory);
    bool ok = path != NULL && make_place(path);
    free(path);
    if (ok) place_fd = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (!ok || place_fd < 0 || fstat(place_fd, &st) != 0 || flock(place_fd, LOCK_EX | LOCK_NB) != 0) {
        agent_complain("the directory for homes, %s: %s", directory,
                       errno == EWOULDBLOCK ? "another agent uses it" : strerror(errno));
        return false;
    }
    if (st.st_uid != 0 || (st.st_mode & 022) != 0) {
        agent_complain("the directory for homes, %s, must belong to root, and nobody else may write to it",
                       directory);
        return false;
    }
    if (!rmtree_contents(place_fd) || fchmod(place_fd, 0711) != 0) {
        agent_complain("the directory for homes, %s, cannot be emptied: %s", directory, strerror(errno));
        return false;
    }
    return true;
}

char *tenant_home_path(const char *id) {
    struct buf path = BUF_INIT(LIMIT_PATH);
    buf_printf(&path, "%s/%s", place, id);
    return buf_take(&path);
}

static int make_below(int at, const char *name, mode_t mode, uid_t owner) {
    if (mkdirat(at, name, 0700) != 0 || fchownat(at, name, owner, owner, AT_SYMLINK_NOFOLLOW) != 0 ||
        fchmodat(at, name, mode, 0) != 0)
        return errno;
    return 0;
}

int tenant_home_make(const char *id, uid_t owner, int *home) {
    if (mkdirat(place_fd, id, 0700) != 0) return errno;
    cleanup_fd int fd = openat(place_fd, id, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return errno;
    int error = make_below(fd, ".tmp", 0700, owner);
    if (error == 0) error = make_below(fd, ".sbx", 0755, owner);
    if (error == 0) error = make_below(fd, ".sbx/proxy", 0755, owner);
    if (error == 0 && fchownat(place_fd, id, owner, owner, AT_SYMLINK_NOFOLLOW) != 0) error = errno;
    if (error == 0) *home = steal_fd(&fd);
    return error;
}

int tenant_home_remove(const char *id) {
    struct file_remove *r = file_remove_new(place_fd, id);
    struct buf left = BUF_INIT(2 * LIMIT_PATH);
    int error = r == NULL ? ENOMEM : 0;
    enum file_remove_result result = FILE_REMOVE_MORE;
    while (r != NULL && result == FILE_REMOVE_MORE)
        result = file_remove_some(r, clock_us() + REMOVE_SLICE_US, &left);
    if (r != NULL && result == FILE_REMOVE_FAILED && errno != ENOENT) error = errno;
    buf_free(&left);
    if (r != NULL) file_remove_free(r);
    return error;
}

int tenant_home_sweep(uid_t uid) {
    struct dir d;
    int error = 0;
    if (testing_off("host-sweep") || !dir_open_path(&d, "/dev/shm")) return 0;
    for (const struct dir_entry *e; (e = dir_next(&d)) != NULL;) {
        struct stat st;
        if (fstatat(d.fd, e->name, &st, AT_SYMLINK_NOFOLLOW) != 0 || st.st_uid != uid) continue;
        if (unlinkat(d.fd, e->name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) != 0 && errno != ENOENT)
            error = errno;
    }
    dir_close(&d);
    return error;
}
