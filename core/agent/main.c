#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/sandbox.h"
#include "agent/confine.h"
#include "agent/confine_host.h"
#include "agent/host.h"
#include "agent/lifetime.h"
#include "agent/local_start.h"
#include "agent/loop.h"
#include "agent/serve.h"
#include "agent/tenant.h"
#include "agent/workers.h"
#include "util/testing.h"
#include "util/text.h"
#include "util/whole.h"
#include "wire/limits.h"
#include "wire/names.h"

#define DEFAULT_PORT 8000

/* 0 in the agent that travels with a job: it serves a port, and what only a sandbox on this computer needs
   is left out, as is the help. */
#ifndef AGENT_WITH_LOCAL
#define AGENT_WITH_LOCAL 1
#endif

#define HOST_CAPACITY      64
#define HOST_CAPACITY_MOST 16384
#define HOST_UID_FIRST     20000
#define HOST_UID_LAST      64999
#define HOST_LANDLOCK      6
#define HOST_DIRECTORY     "/sbx/homes"

extern char **environ;

static struct {
    bool on;
    size_t capacity;
    uid_t first_uid, last_uid;
    int landlock;
    const char *directory;
} host = {.directory = HOST_DIRECTORY};

static const char version[] = "hfsandbox-agent " SBX_AGENT_VERSION "\n";
static const char help[] =
    "hfsandbox-agent serves the sandbox API over HTTP.\n"
    "\n"
    "  hfsandbox-agent [--allow-no-auth]   on the TCP port SBX_PORT, for who knows SBX_TOKEN\n"
    "  hfsandbox-agent --local             as the library starts it, for a sandbox on this computer\n"
    "  hfsandbox-agent --version | --help\n"
    "\n"
    "Environment:\n"
    "  SBX_TOKEN             the secret of every request; needed unless --allow-no-auth is given\n"
    "  SBX_PORT              1 to 65535; 8000 unless said\n"
    "  SBX_IDLE_TIMEOUT      seconds without activity after which the agent ends; 0 or absent: never\n"
    "  SBX_MAX_CONNECTIONS   8192 unless said\n"
    "  SBX_HOST_MODE         1: many sandboxes, each a user and a directory of its own; needs root\n"
    "  SBX_CAPACITY          how many; 64 unless said\n"
    "  SBX_HOST_DIRECTORY    where their homes are; /sbx/homes unless said\n"
    "  SBX_HOST_FIRST_UID, SBX_HOST_LAST_UID\n"
    "                        the range of their users; 20000 and 64999 unless said\n"
    "  SBX_MIN_LANDLOCK_ABI  what the kernel must have at least; 6 unless said, or --allow-unconfined\n"
    "  SBX_COMPAT_HOST_TOKEN 0: SBX_TOKEN makes and ends sandboxes, but does not open them\n"
    "  SBX_STREAM_LIMIT, SBX_SANDBOX_OUTPUT_LIMIT, SBX_AGENT_OUTPUT_LIMIT\n"
    "                        bytes of output held of a stream, of all commands, of all sandboxes;\n"
    "                        1048576, 8388608 and 67108864 unless said\n"
    "\n"
    "Example: SBX_TOKEN=secret SBX_PORT=49983 hfsandbox-agent\n";

__attribute__((format(printf, 1, 0))) static void complain(const char *format, va_list args) {
    struct buf text = BUF_INIT(MIB(1));
    buf_puts(&text, "hfsandbox-agent: ");
    buf_vprintf(&text, format, args);
    buf_putc(&text, '\n');
    whole_write(STDERR_FILENO, text.data, text.len);
    buf_free(&text);
}

void agent_complain(const char *format, ...) {
    va_list args;
    va_start(args, format);
    complain(format, args);
    va_end(args);
}

__attribute__((format(printf, 1, 2))) static _Noreturn void fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    complain(format, args);
    va_end(args);
    exit(1);
}

/* A number of the environment; absent and empty mean `otherwise`, anything that is no number in range ends
   the agent: a limit that was meant and is not understood must not be dropped. */
static uint64_t env_number(const char *name, uint64_t least, uint64_t most, uint64_t otherwise) {
    const char *text = getenv(name);
    uint64_t value;
    if (text == NULL || text[0] == '\0') return otherwise;
    if (!text_u64(text, strlen(text), &value)) fail("%s is '%s', which is not a whole number", name, text);
    if (value < least || value > most) fail("%s is '%s', which is out of range", name, text);
    return value;
}

/* What follows the name and '=' in an item of the environment, or NULL: it is another. */
static const char *named(const char *item, const char *name) {
    size_t len = strlen(name);
    return strncmp(item, name, len) == 0 && item[len] == '=' ? item + len + 1 : NULL;
}

static char *copied(const char *text) {
    char *copy = strdup(text);
    if (copy == NULL) fail("out of memory");
    return copy;
}

/* Takes the environment over, without what is for the agent alone, and overwrites where the kernel put it:
 * /proc/<pid>/environ shows that memory. */
static void take_environment(void) {
    size_t n = 0, kept = 0;
    bool scrub = !testing_off("scrub-token");
    while (environ[n] != NULL)
        n++;
    char **copy = calloc(n + 1, sizeof *copy);
    if (copy == NULL) fail("out of memory");
    for (size_t i = 0; i < n; i++) {
        const char *token = named(environ[i], ENV_TOKEN), *file = named(environ[i], ENV_FILE);
        if (token != NULL && token[0] != '\0') agent.token = copied(token);
        if (file != NULL) unlink(file);
        if (token == NULL && file == NULL) copy[kept++] = copied(environ[i]);
        if (scrub) memset(environ[i], 0, strlen(environ[i]));
    }
    environ = sandbox_machine.env = copy;
}

static void read_host_environment(void) {
    host.first_uid = (uid_t)env_number(ENV_HOST_UIDS, 1000, HOST_UID_LAST, HOST_UID_FIRST);
    host.last_uid = (uid_t)env_number(ENV_HOST_LAST_UID, host.first_uid, HOST_UID_LAST, HOST_UID_LAST);
    host.landlock = (int)env_number(ENV_MIN_LANDLOCK, 1, 1000, HOST_LANDLOCK);
    agent.compatible_token = env_number(ENV_COMPAT_TOKEN, 0, 1, 1) == 1;
    if (getenv(ENV_HOST_DIRECTORY) != NULL) host.directory = copied(getenv(ENV_HOST_DIRECTORY));
}

static void read_environment(bool allow_no_auth) {
    agent.port = (int)env_number(ENV_PORT, 1, 65535, DEFAULT_PORT);
    uint64_t idle = env_number(ENV_IDLE_TIMEOUT, 0, INT32_MAX, 0);
    agent.idle_ms = idle == 0 ? -1 : (int64_t)idle * 1000;
    agent.max_connections = (size_t)env_number(ENV_MAX_CONNECTIONS, 1, 1 << 20, LIMIT_CONNECTIONS);
    host.on = env_number(ENV_HOST_MODE, 0, 1, 0) == 1;
    if (AGENT_WITH_HOST) host.capacity = env_number(ENV_CAPACITY, 1, HOST_CAPACITY_MOST, HOST_CAPACITY);
    if (AGENT_WITH_HOST && host.on) read_host_environment();
    take_environment();
    if (agent.token == NULL && !allow_no_auth)
        fail(
            "%s is not set: everybody who reaches the port could run commands. Set it, or allow that with %s",
            ENV_TOKEN, "--allow-no-auth");
    sandbox_machine.id = "";
    static char cwd[LIMIT_PATH];
    sandbox_machine.cwd = syscall(SYS_getcwd, cwd, sizeof cwd) > 0 && cwd[0] == '/' ? cwd : "/";
}

/* Each sandbox is a user, a directory and a domain of its own in this machine. */
static void begin_host(bool weaker) {
    struct confine_error e = {.step = ""};
    agent.host = &host_mode;
    if (!tenants_init(host.directory, host.first_uid, host.last_uid, host.capacity)) exit(1);
    if (!confine_host(host.landlock, weaker, &e))
        fail("%s: %s%s%s", e.step, e.text, e.remedy[0] != '\0' ? "; " : "", e.remedy);
}

/* Each connection is a descriptor, and each command some more. */
static void raise_descriptors(void) {
    struct rlimit limit;
    if (prlimit(0, RLIMIT_NOFILE, NULL, &limit) < 0) return;
    agent.soft_open_files = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    prlimit(0, RLIMIT_NOFILE, &limit, NULL);
    prlimit(0, RLIMIT_NOFILE, NULL, &limit);
    if (limit.rlim_cur / 2 < agent.max_connections) agent.max_connections = limit.rlim_cur / 2;
}

static int serve(void) {
    if (!loop_init() || !workers_init() || !lifetime_init()) fail("the event loop: %s", strerror(errno));
    if (AGENT_WITH_LOCAL && agent.local) {
        local_start_serve();
    } else if (!serve_port(agent.port)) {
        fail("port %d: %s", agent.port, strerror(errno));
    }
    return loop_run();
}

int main(int argc, char **argv) {
    bool local = false, allow_no_auth = false, weaker = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--version") == 0)
            return !whole_write(STDOUT_FILENO, version, sizeof version - 1);
        if (AGENT_WITH_LOCAL && strcmp(argv[i], "--help") == 0)
            return !whole_write(STDOUT_FILENO, help, sizeof help - 1);
        if (AGENT_WITH_LOCAL && strcmp(argv[i], "--local") == 0) {
            local = true;
        } else if (strcmp(argv[i], "--allow-no-auth") == 0) {
            allow_no_auth = true;
        } else if (AGENT_WITH_HOST && strcmp(argv[i], "--allow-unconfined") == 0) {
            weaker = true;
        } else {
            agent_complain("unknown option '%s'; see hfsandbox-agent --help", argv[i]);
            return 2;
        }
    }
    agent.version = SBX_AGENT_VERSION;
    agent.max_connections = LIMIT_CONNECTIONS;
    if (AGENT_WITH_LOCAL && local) {
        local_start_confined();
    } else {
        read_environment(allow_no_auth);
        if (host.on && !AGENT_WITH_HOST) fail("%s=1: this agent carries one sandbox only", ENV_HOST_MODE);
        if (AGENT_WITH_HOST && host.on)
            begin_host(weaker);
        else
            confine_dedicated();
    }
    raise_descriptors();
    return serve();
}
