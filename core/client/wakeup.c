#include "client/wakeup.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/text.h"

#define CANDIDATES 16
#define ROUNDS     1
#define MARK       16

static int readable(int fd) {
    int bytes = -1;
    return ioctl(fd, FIONREAD, &bytes) == 0 ? bytes : -1;
}

static bool inherited(int fd) {
    struct stat st;
    int flags = fcntl(fd, F_GETFD);
    if (flags < 0 || (flags & FD_CLOEXEC) || fstat(fd, &st) != 0) return false;
    return S_ISSOCK(st.st_mode) || S_ISFIFO(st.st_mode);
}

/* Sockets and pipes that a started program would inherit, with so many bytes to be read. */
static size_t scan(int found[CANDIDATES], int bytes) {
    size_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    while (dir != NULL && count < CANDIDATES && (entry = readdir(dir)) != NULL) {
        int fd = atoi(entry->d_name);
        if (entry->d_name[0] != '.' && inherited(fd) && readable(fd) == bytes) found[count++] = fd;
    }
    if (dir != NULL) closedir(dir);
    return count;
}

static size_t keep(int fds[], size_t count, int bytes) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (readable(fds[i]) == bytes) fds[kept++] = fds[i];
    return kept;
}

static void seal(int fd) {
    fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static bool seal_marked(int fd, const char *mark) {
    char got[MARK];
    if (recv(fd, got, MARK, MSG_PEEK | MSG_DONTWAIT) != MARK || memcmp(got, mark, MARK) != 0) return false;
    if (recv(fd, got, MARK, MSG_DONTWAIT) == MARK) seal(fd);
    return true;
}

/* Nobody reads at the end that is written to, so what is sent to it from here can be taken back. It was made
   with the other one and most likely stands behind it. */
static void seal_peer(int fd) {
    char mark[MARK + 1];
    int found[CANDIDATES];
    if (!text_random_hex(MARK / 2, mark) || send(fd, mark, MARK, MSG_DONTWAIT | MSG_NOSIGNAL) != MARK) return;
    if (inherited(fd + 1) && seal_marked(fd + 1, mark)) return;
    size_t count = scan(found, MARK);
    for (size_t i = 0; i < count; i++)
        if (seal_marked(found[i], mark)) return;
}

/* The two ends of a pipe are one node. */
static void seal_pipe(const struct stat *own) {
    int found[CANDIDATES];
    size_t count = scan(found, 0);
    for (size_t i = 0; i < count; i++) {
        struct stat st;
        if (fstat(found[i], &st) == 0 && st.st_dev == own->st_dev && st.st_ino == own->st_ino) seal(found[i]);
    }
}

int wakeup_hint(void) {
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) close(fd);
    return fd;
}

void wakeup_seal(const struct wakeup *wakeup) {
    int found[CANDIDATES] = {wakeup->hint};
    wakeup->wake(wakeup->ctx);
    size_t count = inherited(wakeup->hint) && readable(wakeup->hint) == 1 ? 1 : scan(found, 1);
    for (int round = 0; round < ROUNDS && count > 0; round++) {
        wakeup->calm(wakeup->ctx);
        count = keep(found, count, 0);
        wakeup->wake(wakeup->ctx);
        count = keep(found, count, 1);
    }
    wakeup->calm(wakeup->ctx);
    if (count != 1) return;
    struct stat st;
    seal(found[0]);
    if (fstat(found[0], &st) == 0 && S_ISFIFO(st.st_mode))
        seal_pipe(&st);
    else
        seal_peer(found[0]);
}
