#include "agent/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/confine.h"
#include "agent/rawcall.h"

#define STACK_WORDS 2048 /* 16 KiB: the child's functions are few and their frames small */
#define SLOTS_KEPT  16
#define USUAL_PATH  "/usr/local/bin:/usr/bin:/bin"

enum step { STEP_NONE, STEP_SESSION, STEP_STDIO, STEP_CWD, STEP_TAG, STEP_CONFINE, STEP_EXEC };

struct spawn {
    struct spawn *next; /* in the free list */
    _Atomic int tid; /* set to 0 by the kernel when the child has left this memory: by exec or by its end */
    int error;       /* written by the child before it gives up; valid once tid is 0 */
    int step;
    struct spawn_request request;
    char **candidates; /* paths to try, NULL-terminated */
    char *candidate_text;
    char *single[2];
    void *stack[STACK_WORDS] __attribute__((aligned(16)));
};

static struct spawn *free_slots;
static size_t free_count;
static int null_fd = -1;

bool spawn_init(void) {
    /* A child's end of a pipe must never be 0, 1 or 2: one dup would overwrite what the next one copies. */
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
        if (fd < 0) return false;
    } while (fd <= 2);
    close(fd);
    null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null_fd < 0) return false;
    /* What was ignored when the agent started (nohup, a Python parent) would stay ignored in every command.
     */
    for (int s = 1; s < SIGRTMAX; s++) {
        struct sigaction old;
        if (sigaction(s, NULL, &old) == 0 && old.sa_handler == SIG_IGN) signal(s, SIG_DFL);
    }
    /* Two that C libraries keep for themselves and hide; glibc's posix_spawn hands them on ignored. */
    for (int s = 32; s <= 33; s++) {
        unsigned long action[4] = {0};
        if (syscall(SYS_rt_sigaction, s, NULL, action, 8) != 0 || action[0] != (unsigned long)SIG_IGN)
            continue;
        memset(action, 0, sizeof action);
        syscall(SYS_rt_sigaction, s, action, NULL, 8);
    }
    return true;
}

RAWCALL_CHILD static long child_stdio(const struct spawn_request *r) {
    int fds[3] = {r->stdin_fd >= 0 ? r->stdin_fd : null_fd, r->stdout_fd, r->stderr_fd};
    for (int i = 0; i < 3; i++) {
        long error = raw3(SYS_dup3, fds[i], i, 0);
        if (error < 0) return error;
        if (fds[i] != null_fd) raw3(SYS_fcntl, i, F_SETFL, 0);
    }
    return 0;
}

RAWCALL_CHILD static long child_tag(uint64_t tag) {
    struct {
        uint64_t soft, hard;
    } limit = {tag, tag};
    if (tag == 0) return 0;
    return raw4(SYS_prlimit64, 0, RLIMIT_RTTIME, (long)&limit, 0);
}

/* The agent raised its own; programs that close every possible descriptor or use select must not see that. */
RAWCALL_CHILD static void child_open_files(void) {
    uint64_t limit[2] = {0, 0};
    if (agent.soft_open_files == 0 || raw4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, (long)limit) < 0) return;
    if (limit[0] <= agent.soft_open_files) return;
    limit[0] = agent.soft_open_files;
    raw4(SYS_prlimit64, 0, RLIMIT_NOFILE, (long)limit, 0);
}

RAWCALL_CHILD static long child_exec(const struct spawn *s) {
    uint64_t none = 0;
    long error = -ENOENT;
    raw4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&none, 0, sizeof none);
    for (char **path = s->candidates; *path != NULL; path++) {
        long e = raw3(SYS_execve, (long)*path, (long)s->request.argv, (long)s->request.envp);
        if (e != -ENOENT && e != -ENOTDIR && e != -EACCES) return e;
        if (error != -EACCES)
            error = e; /* a file that may not be run says more than a directory that lacks it */
    }
    return error;
}

RAWCALL_CHILD static int child_steps(const struct spawn *s, long *error) {
    const struct spawn_request *r = &s->request;
    if ((*error = raw0(SYS_setsid)) < 0) return STEP_SESSION;
    if ((*error = child_stdio(r)) < 0) return STEP_STDIO;
    if ((*error = child_tag(r->tree_tag)) < 0) return STEP_TAG;
    child_open_files();
    if ((*error = confine_child(r->sandbox)) < 0) return STEP_CONFINE;
    /* exec would close the rest anyway; earlier is better: nothing of the agent's is held up by a directory
     * that hangs. */
    raw3(SYS_close_range, 3, (long)~0U, 0);
    if (r->cwd != NULL && (*error = raw1(SYS_chdir, (long)r->cwd)) < 0) return STEP_CWD;
    *error = child_exec(s);
    return STEP_EXEC;
}

RAWCALL_CHILD static void child_main(void *arg) {
    struct spawn *s = arg;
    long error = 0;
    s->step = child_steps(s, &error);
    s->error = (int)-error;
    for (;;)
        raw1(SYS_exit, 127);
}

/* PATH lookup by trying: all candidates are written out before the clone, so the child only walks over them.
 */
static int prepare_candidates(struct spawn *s) {
    const char *name = s->request.argv[0];
    size_t name_len = strlen(name);
    s->candidates = s->single;
    s->single[0] = s->request.argv[0];
    s->single[1] = NULL;
    if (name_len == 0 || strchr(name, '/') != NULL) return 0;

    const char *path = s->request.path_env != NULL ? s->request.path_env : USUAL_PATH;
    size_t dirs = 1;
    for (const char *p = path; *p != '\0'; p++)
        dirs += *p == ':';
    s->candidates = calloc(dirs + 1, sizeof *s->candidates);
    s->candidate_text = malloc(strlen(path) + dirs * (name_len + 3));
    if (s->candidates == NULL || s->candidate_text == NULL) return ENOMEM;
    char *out = s->candidate_text;
    for (size_t i = 0; i < dirs; i++) {
        size_t len = strcspn(path, ":");
        s->candidates[i] = out;
        memcpy(out, path, len);
        out += len;
        if (len == 0) *out++ = '.'; /* an empty part of PATH is the working directory */
        *out++ = '/';
        memcpy(out, name, name_len + 1);
        out += name_len + 1;
        path += len + 1;
    }
    return 0;
}

static void release(struct spawn *s) {
    if (s->candidates != s->single) free(s->candidates);
    free(s->candidate_text);
    s->candidates = NULL;
    s->candidate_text = NULL;
    if (free_count >= SLOTS_KEPT) {
        free(s);
        return;
    }
    s->next = free_slots;
    free_slots = s;
    free_count++;
}

static struct spawn *take_slot(void) {
    struct spawn *s = free_slots;
    if (s != NULL) {
        free_slots = s->next;
        free_count--;
        return s;
    }
    return malloc(sizeof *s); /* aligned for everything, and so for the child's stack */
}

int spawn_start(const struct spawn_request *r, struct spawn **out, pid_t *pid) {
    struct spawn *s = take_slot();
    if (s == NULL) return ENOMEM;
    s->request = *r;
    s->error = 0;
    s->step = STEP_NONE;
    s->candidates = NULL;
    s->candidate_text = NULL;
    int error = prepare_candidates(s);
    if (error != 0) {
        release(s);
        return error;
    }
    void **top = &s->stack[STACK_WORDS - 2];
    top[0] = (void *)(uintptr_t)child_main;
    top[1] = s;
    atomic_store(&s->tid, 1);
    long result = raw_clone(CLONE_VM | CLONE_CHILD_CLEARTID | SIGCHLD, top, (int *)&s->tid);
    if (result < 0) {
        release(s);
        return (int)-result;
    }
    *pid = (pid_t)result;
    *out = s;
    return 0;
}

enum spawn_state spawn_state(const struct spawn *s, int *error, const char **step) {
    static const char *const names[] = {"", "session", "stdio", "cwd", "tag", "confine", "exec"};
    if (atomic_load(&s->tid) != 0) return SPAWN_PENDING;
    *error = s->error;
    *step = names[s->step];
    return s->step == STEP_NONE ? SPAWN_RUNNING : SPAWN_FAILED;
}

void spawn_free(struct spawn *s) {
    if (s != NULL) release(s);
}
