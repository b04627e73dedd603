/* The system call filter of a local sandbox: a deny-list with argument masks, as a classic BPF program. */
#ifndef AGENT_SECCOMP_H
#define AGENT_SECCOMP_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>

#include "agent/confine.h"

#define SECCOMP_PROGRAM_MAX 512

struct seccomp_options {
    bool shared; /* no namespaces: the host's Unix sockets, IPC and processes, and the files of the same user
                    would be in reach */
    bool no_ipc; /* no System V and POSIX IPC: without an own ipc namespace; part of `shared` */
    bool no_network; /* no sockets of the internet: without an own network namespace */
    bool no_suid;    /* no set-uid and set-gid bits: files of the host can be written */
};

/* Builds the program for this machine's architecture; pure. Returns its length, 0 when out has no room. */
size_t seccomp_build(const struct seccomp_options *o, struct sock_filter *out, size_t room);

/* Installs it for good on the calling process, which must be the only thread; no_new_privs must be set. */
bool seccomp_apply(const struct seccomp_options *o, struct confine_error *e);

#endif
