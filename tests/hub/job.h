/* hub-job: starts one job of the local Hub as a container would run it, and tells the Hub how it goes.

   Standard input carries the specification: its length as 32 bits of the machine's order, then strings of the form
   key<TAB>field<TAB>field..., each ended by a NUL byte, the last one being empty. After it single letters are commands: T sends
   SIGTERM to the job's first process, K ends all of them, and the end of the stream (the Hub is gone) does so too.

   Standard output is a Unix socket (SOCK_SEQPACKET): "ready" with descriptors (the job's network namespace, then one
   listening socket for each "listen" of the specification), "started", and at last "exit <code>", "signal <number>" or
   "failed <step>: <reason>".

   Standard error is where the job's own output goes, both streams. */
#ifndef HUB_JOB_H
#define HUB_JOB_H

#include <stdbool.h>
#include <stddef.h>

#define JOB_STRINGS 8192
#define JOB_LISTENS 4

/* The specification; every string stands in text. Keys that build the root are kept in the order in which they came. */
struct job_spec {
    char *text;
    const char *root;         /* root <dir>: where the new root is mounted; an existing directory */
    const char *hostname;     /* hostname <name> */
    const char *workdir;      /* workdir <dir> */
    unsigned base;            /* map <first uid and gid of the host's range> */
    bool privileged;          /* privileged: keeps every capability and has no filter; the control of the tests */
    char *steps[JOB_STRINGS]; /* size, dir, copy, bind, tmpfs, link, hide, standard */
    size_t step_count;
    char *argv[JOB_STRINGS]; /* arg <text>, NULL-terminated */
    size_t argc;
    char *env[JOB_STRINGS]; /* env <NAME=value>, NULL-terminated */
    size_t envc;
    const char *listens[JOB_LISTENS]; /* listen <address>:<port>, sockets to open inside */
    size_t listen_count;
};

/* job_spec.c: false with a reason. */
bool job_spec_read(struct job_spec *spec, int fd, const char **error);
/* The next TAB-separated field of *rest, which moves on; "" when there is none. */
char *job_spec_field(char **rest);

/* job_root.c: builds the root and enters it; the name of the step that failed (with errno), or NULL. */
const char *job_root_enter(const struct job_spec *spec);

/* job_net.c: brings lo up and opens the listening sockets; -1 with errno. */
int job_net_up(void);
int job_net_listen(const char *address_and_port);

/* job_confine.c: Docker's default capabilities and the calls that its default filter refuses; a step's name, or NULL. */
const char *job_confine(void);

#endif
