/* System calls without what a C library puts around them for kernels older than ours (Linux 3.9). */
#ifndef AGENT_SYSCALLS_H
#define AGENT_SYSCALLS_H

#include <sys/syscall.h>
#include <unistd.h>

static inline int sys_socket(int family, int type) {
    return (int)syscall(SYS_socket, family, type, 0);
}

static inline int sys_accept(int fd, int flags) {
    return (int)syscall(SYS_accept4, fd, NULL, NULL, flags);
}

static inline int sys_pipe(int fds[2], int flags) {
    return (int)syscall(SYS_pipe2, fds, flags);
}

static inline int sys_dup(int from, int to, int flags) {
    return (int)syscall(SYS_dup3, from, to, flags);
}

static inline int sys_fcntl(int fd, int command, long argument) {
    return (int)syscall(SYS_fcntl, fd, command, argument);
}

#endif
