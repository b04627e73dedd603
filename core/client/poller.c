#include "client/poller.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "client/io.h"

int poller_open(void) {
    return epoll_create1(EPOLL_CLOEXEC);
}

bool poller_set(int poller, int fd, bool known, unsigned events, uint64_t key) {
    struct epoll_event event = {.events = 0, .data.u64 = key};
    if (events & IO_READ) event.events |= EPOLLIN;
    if (events & IO_WRITE) event.events |= EPOLLOUT;
    return epoll_ctl(poller, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) == 0;
}

void poller_remove(int poller, int fd) {
    epoll_ctl(poller, EPOLL_CTL_DEL, fd, NULL);
}

int poller_wait(int poller, struct poller_event out[POLLER_BATCH], int timeout_ms) {
    struct epoll_event events[POLLER_BATCH];
    int count = epoll_wait(poller, events, POLLER_BATCH, timeout_ms);
    for (int i = 0; i < count; i++) {
        out[i].key = events[i].data.u64;
        out[i].events = 0;
        if (events[i].events & EPOLLIN) out[i].events |= IO_READ;
        if (events[i].events & EPOLLOUT) out[i].events |= IO_WRITE;
        if (events[i].events & (EPOLLERR | EPOLLHUP)) out[i].events |= IO_ERROR;
    }
    return count > 0 ? count : 0;
}

int poller_wake_open(void) {
    return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

void poller_wake(int wake) {
    uint64_t one = 1;
    ssize_t put = write(wake, &one, sizeof one);
    (void)put; /* EAGAIN: readable already */
}

void poller_calm(int wake) {
    uint64_t count;
    ssize_t got = read(wake, &count, sizeof count);
    (void)got; /* EAGAIN: calm already */
}
