/* From request to running command: clone and exec. The child shares the agent's memory until it execs, so it
   makes raw system calls only and reports a failure in that memory; the loop never waits for it. */
#ifndef AGENT_SPAWN_H
#define AGENT_SPAWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct sandbox;

struct spawn_request {
    char *const *argv;
    char *const *envp;
    const char *path_env; /* the PATH to look argv[0] up in when it has no slash; from envp; NULL = the usual
                             directories */
    const char *cwd;
    int stdin_fd, stdout_fd, stderr_fd; /* the child's ends, all above 2, made blocking for it; -1 for stdin
                                           means /dev/null; the caller closes them afterwards */
    const struct sandbox *sandbox;      /* whose command it is */
    uint64_t tree_tag; /* a limit that marks the command's descendants, see tree.h; 0 = none */
};

struct spawn; /* one start under way */

enum spawn_state { SPAWN_PENDING, SPAWN_RUNNING, SPAWN_FAILED };

/* Once, before the first start: the descriptors that children get. False: errno. */
bool spawn_init(void);

/* 0 with *out and *pid, or an errno (then nothing was started). What r points to must stay as it is until
   spawn_state() no longer says pending. The child's end is the business of reap.h, also when it could not
   exec. */
int spawn_start(const struct spawn_request *r, struct spawn **out, pid_t *pid);

/* Whether the command runs. Costs no system call, so ask whenever something happens. Failed: *error and the
 * *step ("cwd", "exec" …). */
enum spawn_state spawn_state(const struct spawn *s, int *error, const char **step);

void spawn_free(struct spawn *s); /* NULL does nothing; only when it is no longer pending */

#endif
