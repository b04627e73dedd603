#include "client/handover.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/record.h"
#include "util/scope.h"
#include "util/testing.h"
#include "util/text.h"

#define PREFIX      ".connect-"
#define SEND_BUFFER (1024 * 1024) /* the kernel gives what its own limit allows */

void handover_init(struct handover *handover, const char *runtime) {
    handover->listener = handover->inode = -1;
    handover->runtime = runtime;
}

void handover_close(struct handover *handover) {
    if (handover->listener >= 0) close(handover->listener);
    if (handover->inode >= 0) close(handover->inode);
    handover_init(handover, handover->runtime);
}

static bool address_in(struct sockaddr_un *out, int dir, const char *name) {
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    int len = snprintf(out->sun_path, sizeof out->sun_path, "/proc/self/fd/%d/%s", dir, name);
    return len > 0 && (size_t)len < sizeof out->sun_path;
}

static bool nobody_listens(int dir, const char *name) {
    struct sockaddr_un address;
    cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd >= 0 && address_in(&address, dir, name) &&
           connect(fd, (struct sockaddr *)&address, sizeof address) != 0 && errno == ECONNREFUSED;
}

void handover_sweep(int runtime) {
    if (testing_off("name-sweep")) return;
    int fd = openat(runtime, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;
    if (dir == NULL) scope_close(&fd);
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (strncmp(entry->d_name, PREFIX, sizeof PREFIX - 1) == 0 && nobody_listens(runtime, entry->d_name))
            unlinkat(runtime, entry->d_name, 0);
    if (dir != NULL) closedir(dir);
}

static bool listen_in(struct handover *handover, int dir) {
    struct sockaddr_un address;
    char name[sizeof PREFIX + 16] = PREFIX;
    if (!text_random_hex(8, name + sizeof PREFIX - 1) || !address_in(&address, dir, name)) return false;
    cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0) return false;
    bool listening = listen(fd, SOMAXCONN) == 0;
    cleanup_fd int inode = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    unlinkat(dir, name, 0);
    if (!listening || inode < 0) return false;
    handover->listener = steal_fd(&fd);
    handover->inode = steal_fd(&inode);
    return true;
}

static bool listen_below(struct handover *handover, const char *runtime) {
    sbx_error error;
    cleanup_free char *path = NULL;
    cleanup_fd int dir = record_runtime(&path, runtime, &error);
    if (dir < 0) return false;
    handover_sweep(dir);
    /* Another program's sweep may come between bind and listen. */
    for (int tries = 0; tries < 5; tries++)
        if (listen_in(handover, dir)) return true;
    return false;
}

static bool listen_somewhere(struct handover *handover) {
    char shm[48];
    snprintf(shm, sizeof shm, "/dev/shm/hfsandbox-%u", (unsigned)geteuid());
    return handover->listener >= 0 || listen_below(handover, handover->runtime) ||
           listen_below(handover, shm);
}

/* The kernel's own choice of a name that nobody else has. */
static bool name_socket(int fd, char name[HANDOVER_NAME]) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t len = sizeof address;
    if (bind(fd, (struct sockaddr *)&address, sizeof address.sun_family) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        return false;
    }
    memset(name, 0, HANDOVER_NAME);
    memcpy(name, address.sun_path + 1, HANDOVER_NAME - 1);
    return true;
}

int handover_socket(struct handover *handover, char name[HANDOVER_NAME], struct sockaddr *address,
                    socklen_t *len) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (!listen_somewhere(handover)) return -1;
    cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || !name_socket(fd, name)) return -1;
    snprintf(to.sun_path, sizeof to.sun_path, "/proc/self/fd/%d", handover->inode);
    memcpy(address, &to, sizeof to);
    *len = sizeof to;
    return steal_fd(&fd);
}

int handover_accept(struct handover *handover, char name[HANDOVER_NAME]) {
    for (;;) {
        struct sockaddr_un from = {0};
        struct ucred peer;
        socklen_t len = sizeof from, peer_len = sizeof peer;
        int fd = accept4(handover->listener, (struct sockaddr *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) return -1;
        bool own = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_len) == 0 && peer.pid == getpid();
        if (own) {
            /* Output comes in pieces larger than the default takes: fewer rounds between agent and client. */
            setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){SEND_BUFFER}, sizeof(int));
            memset(name, 0, HANDOVER_NAME);
            memcpy(name, from.sun_path + 1, HANDOVER_NAME - 1);
            return fd;
        }
        close(fd);
    }
}

void handover_pass(int control_fd, int fd) {
    char byte = 0;
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = sizeof control.space};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof(int));
    if (control_fd >= 0) {
        ssize_t sent = sendmsg(control_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)sent;
    }
    close(fd);
}
