#include "agent/localdir.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/syscalls.h"
#include "util/rmtree.h"
#include "util/scope.h"
#include "util/text.h"
#include "wire/limits.h"
#include "wire/names.h"

static int dir_fd = -1;
static char dir_path[LIMIT_PATH];

static bool fail(struct confine_error *e, const char *what) {
    e->step = "directory";
    e->error = errno;
    text_format(e->text, sizeof e->text, "%s: %s", what, strerror(e->error));
    text_format(e->remedy, sizeof e->remedy, "choose another runtime directory");
    return false;
}

/* 1 = made and locked, 0 = a cleaner was faster, -1 = an error. */
static int make_once(const char *path) {
    if (mkdir(path, 0700) != 0) return -1;
    cleanup_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT ? 0 : -1;
    struct stat st;
    if (flock(fd, LOCK_SH) != 0 || fchmod(fd, 0700) != 0 || fstat(fd, &st) != 0) {
        int error = errno;
        rmdir(path);
        errno = error;
        return -1;
    }
    /* Between mkdir and flock a cleaner may have taken it for an abandoned one: then it has no links left. */
    if (st.st_nlink == 0) return 0;
    dir_fd = steal_fd(&fd);
    return 1;
}

bool localdir_make(const char *path, struct confine_error *e) {
    if (strlen(path) >= sizeof dir_path) {
        errno = ENAMETOOLONG;
        return fail(e, "the path of the sandbox's directory");
    }
    strcpy(dir_path, path);
    for (int tries = 0; tries < 100; tries++) {
        int made = make_once(path);
        if (made < 0) return fail(e, "mkdir");
        if (made > 0) return true;
    }
    errno = EAGAIN;
    return fail(e, "lock");
}

int localdir_listen(struct confine_error *e) {
    cleanup_fd int fd = sys_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    /* The path itself may be longer than a socket address holds. */
    text_format(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", dir_fd, LOCAL_SOCKET);
    /* fchmod before bind decides the mode of the socket file. */
    if (fd < 0 || fchmod(fd, 0600) != 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, 4096) != 0) {
        fail(e, "socket");
        return -1;
    }
    return steal_fd(&fd);
}

bool localdir_committed(void) {
    struct stat st;
    return dir_fd >= 0 && fstatat(dir_fd, LOCAL_RECORD, &st, 0) == 0;
}

void localdir_leave(void) {
    if (dir_fd >= 0) close(dir_fd);
    dir_fd = -1;
}

void localdir_remove(void) {
    if (dir_fd < 0) return;
    rmtree_contents(dir_fd);
    rmdir(dir_path);
    localdir_leave();
}
