/* From request to running command: pipes, clone, exec. The child shares the agent's memory until it execs, so it makes raw system
   calls only and reports a failure in that memory; the loop never waits for it. */
#ifndef AGENT_SPAWN_H
#define AGENT_SPAWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct spawn_request {
    char *const *argv;
    char *const *envp;
    const char *path_env; /* the PATH to look argv[0] up in when it has no slash; from envp */
    const char *cwd;
    int stdin_fd, stdout_fd, stderr_fd; /* the child's ends; -1 for stdin means /dev/null; the caller closes them afterwards */
    uint64_t tree_tag;                  /* identifies the command's descendants, see tree.h */
};

struct spawn; /* one start under way */

/* Called once, on the loop: error 0 and the command runs, or the errno and the step ("chdir", "exec") that failed (the child is then
   already gone). */
typedef void spawn_result(void *ctx, int error, const char *step);

/* 0 and *pid, *pidfd, *out, or an errno. The result comes later, never from inside. The child's end is the business of reap.h. */
int spawn_start(const struct spawn_request *r, spawn_result *result, void *ctx, struct spawn **out, pid_t *pid, int *pidfd);

#endif
