#include "client/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/agent_path.h"
#include "client/endpoint.h"
#include "client/json.h"
#include "client/local_pool.h"
#include "client/log.h"
#include "client/provider.h"
#include "util/clock.h"
#include "util/scope.h"
#include "util/testing.h"
#include "wire/limits.h"
#include "wire/names.h"

#define KILL_GRACE 2000 /* between SIGTERM and SIGKILL */
#define FREE_WAIT  4    /* the longest that giving a handle back waits for the end */

static void on_ended(void *ctx, unsigned events);
static void on_status(void *ctx, unsigned events);
static void on_grace(void *ctx);

struct machine *machine_new(struct sbx_client *client) {
    struct machine *m = calloc(1, sizeof *m);
    if (m == NULL) return NULL;
    *m = (struct machine){.client = client,
                          .dir = -1,
                          .child = LOCAL_CHILD_INIT,
                          .line = BUF_INIT(KIB(256)),
                          .ended_watch = {.ready = on_ended, .ctx = m, .fd = -1},
                          .status_watch = {.ready = on_status, .ctx = m, .fd = -1},
                          .grace = {.fire = on_grace, .ctx = m}};
    struct machines *all = client->provider_data;
    m->next = all->first;
    if (m->next != NULL) m->next->prev = m;
    all->first = m;
    return m;
}

static void unwatch(struct machine *m) {
    io_watch_clear(&m->client->io, &m->ended_watch);
    io_watch_clear(&m->client->io, &m->status_watch);
    io_timer_clear(&m->client->io, &m->grace);
}

void machine_free(struct machine *m) {
    struct machines *all = m->client->provider_data;
    if (m->prev != NULL)
        m->prev->next = m->next;
    else
        all->first = m->next;
    if (m->next != NULL) m->next->prev = m->prev;
    unwatch(m);
    if (m->pooled) local_pool_forget(m);
    scope_close(&m->dir);
    scope_close(&m->child.control);
    scope_close(&m->child.status);
    scope_close(&m->child.pidfd);
    explicit_bzero(&m->record, sizeof m->record);
    free(m->runtime);
    buf_free(&m->line);
    if (m->background) {
        io_background(&m->client->io, -1);
        client_release_locked(m->client); /* whoever drives holds it too */
    }
    free(m);
}

bool machine_watch(struct machine *m) {
    m->ended_watch.fd = m->child.pidfd;
    return io_watch_set(&m->client->io, &m->ended_watch, IO_READ);
}

sbx_status machine_start(struct machine *m, const char *agent, const struct buf *config, sbx_error *err) {
    sbx_status status = local_spawn(&m->child, agent, config->data, config->len, m->detached, err);
    if (status != SBX_OK) return status;
    m->status_watch.fd = m->child.status;
    if (machine_watch(m) && io_watch_set(&m->client->io, &m->status_watch, IO_READ)) return SBX_OK;
    int error = errno;
    unwatch(m);
    local_spawn_signal(m->child.pidfd, SIGKILL);
    local_spawn_wait(&m->child, KILL_GRACE, NULL);
    return error_system(err, error, "waiting for the sandbox's agent");
}

/* ------------------------------------------------------------ The status line */

/* The keeper ends by itself after such a line; creating fails when that is confirmed. */
static void refused(struct machine *m, const struct json *line) {
    const char *step = json_string(line, "step"), *text = json_string(line, "error"),
               *remedy = json_string(line, "remedy");
    bool outside = step != NULL && (strcmp(step, "config") == 0 || strcmp(step, "directory") == 0);
    error_set(&m->failure, outside ? SBX_ERROR_SYSTEM : SBX_ERROR_ISOLATION,
              "isolation step %s failed: %s%s%s", step != NULL ? step : "?",
              text != NULL ? text : "no reason was given", remedy != NULL && *remedy != '\0' ? "; " : "",
              remedy != NULL ? remedy : "");
    json_int_within(line, "errno", 0, INT_MAX, 0, &m->failure.system_errno);
}

static sbx_status commit(struct machine *m, sbx_error *err) {
    m->record.pid = m->child.pid;
    m->record.start_time = record_start_time(m->child.pid);
    m->record.created_at_ms = clock_wall_ms();
    int runtime = open(m->runtime, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (runtime < 0) return error_system(err, errno, "the runtime directory %s", m->runtime);
    m->dir = record_open(runtime, m->record.id, err);
    close(runtime);
    return m->dir < 0 ? SBX_ERROR_SYSTEM : record_write(m->dir, &m->record, err);
}

static void ready(struct machine *m) {
    sbx_error error = {.code = SBX_OK};
    if (m->detached && commit(m, &error) != SBX_OK) {
        m->failure = error;
        machine_kill(m, NULL);
        return;
    }
    if (!m->detached) m->record.created_at_ms = clock_wall_ms();
    if (m->pooled) local_pool_keep(m);
    struct sbx_sandbox *sandbox = machine_sandbox(m, ENDPOINT_ALL, &error);
    if (sandbox == NULL) {
        m->failure = error;
        machine_kill(m, NULL);
        return;
    }
    log_event(m->client, SBX_LOG_INFO, "sandbox.created", "id", m->record.id, "provider", "local", NULL);
    struct op *op = m->creating;
    sandbox->timings.answered_ms = clock_ms() - op->begun_ms;
    op->out.sandbox = sandbox;
    op_done(op, SBX_OK);
}

static void read_line(struct machine *m, const char *text, size_t len) {
    struct json *line = json_parse(text, len);
    if (json_bool(line, "ready", false)) {
        ready(m);
    } else {
        if (json_is_object(line))
            refused(m, line);
        else
            error_set(&m->failure, SBX_ERROR_AGENT,
                      "the agent's first line makes no sense; is it another program?");
        machine_kill(m, NULL);
    }
    json_free(line);
}

/* True when the line, or its absence, has been acted upon; m may be gone then. */
static bool take_status(struct machine *m) {
    for (;;) {
        char *room = buf_reserve(&m->line, 4096);
        ssize_t n = room != NULL ? read(m->child.status, room, 4096) : 0;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return false;
        if (n > 0) {
            m->line.len += (size_t)n;
            if (memchr(room, '\n', (size_t)n) == NULL) continue;
        }
        io_watch_clear(&m->client->io, &m->status_watch);
        scope_close(&m->child.status);
        m->child.status = -1;
        /* Without a line it has died, or will now; how is told by its end. */
        if (n > 0 && m->creating != NULL)
            read_line(m, m->line.data, m->line.len);
        else
            machine_kill(m, NULL);
        return true;
    }
}

static void on_status(void *ctx, unsigned events) {
    (void)events;
    take_status(ctx);
}

/* ------------------------------------------------------------ The handle */

/* A socket's address is short. A path that does not fit is reached through the open directory. */
static bool socket_path(const struct machine *m, char *out, size_t size) {
    struct sockaddr_un address;
    int n = snprintf(out, size, "%s/%s/%s", m->runtime, m->record.id, LOCAL_SOCKET);
    if (n > 0 && (size_t)n < sizeof address.sun_path) return true;
    n = snprintf(out, size, "/proc/self/fd/%d/%s", m->dir, LOCAL_SOCKET);
    return n > 0 && (size_t)n < sizeof address.sun_path;
}

struct sbx_sandbox *machine_sandbox(struct machine *m, unsigned features, sbx_error *err) {
    struct endpoint endpoint;
    char path[LIMIT_PATH];
    sbx_status status;
    if (m->detached && !socket_path(m, path, sizeof path)) {
        error_set(err, SBX_ERROR_SYSTEM, "the path of the socket of %s is too long", m->record.id);
        return NULL;
    }
    if (m->detached)
        status = endpoint_make(&endpoint, ENDPOINT_UNIX, NULL, path, -1, m->record.token, features, err);
    else
        status = endpoint_make(&endpoint, ENDPOINT_CONTROL, NULL, NULL, m->child.control, m->record.token,
                               features, err);
    if (status != SBX_OK) return NULL;
    m->sandbox = sandbox_new(m->client, &provider_local, m, m->record.id, &endpoint);
    if (m->sandbox == NULL)
        error_memory(err);
    else
        m->sandbox->detached = m->detached && !m->pooled;
    return m->sandbox;
}

/* ------------------------------------------------------------ The end */

static void on_grace(void *ctx) {
    struct machine *m = ctx;
    if (!testing_off("kill-grace")) local_spawn_signal(m->child.pidfd, SIGKILL);
}

void machine_kill(struct machine *m, struct machine_kill *kill) {
    if (kill != NULL) {
        kill->machine = m;
        kill->next = m->kills;
        m->kills = kill;
    }
    if (m->ended) return; /* what it left is being removed */
    local_spawn_signal(m->child.pidfd, SIGTERM);
    /* Without memory for a timer there is no grace. */
    if (m->grace.slot == 0 && !io_timer_set(&m->client->io, &m->grace, clock_deadline(KILL_GRACE)))
        on_grace(m);
}

void machine_kill_forget(struct machine_kill *kill) {
    if (kill->machine == NULL) return;
    for (struct machine_kill **at = &kill->machine->kills; *at != NULL; at = &(*at)->next) {
        if (*at != kill) continue;
        *at = kill->next;
        break;
    }
    kill->machine = NULL;
}

static void describe(int how, char *out, size_t size) {
    if (how < 0)
        snprintf(out, size, "has ended");
    else if (WIFSIGNALED(how))
        snprintf(out, size, "was ended by signal %d", WTERMSIG(how));
    else
        snprintf(out, size, "has ended with status %d", WEXITSTATUS(how));
}

/* Nothing of it is left: now those who wait for just this, and whoever has given it back, are done with it.
 */
static void cleaned(struct machine *m) {
    while (m->kills != NULL) {
        struct machine_kill *kill = m->kills;
        m->kills = kill->next;
        kill->machine = NULL;
        op_done(kill->op, SBX_OK);
    }
    if (m->creating != NULL) op_fail(m->creating, &m->failure);
    m->cleaning = false;
    if (m->sandbox == NULL) machine_free(m);
}

static void clean(const struct machine *m) {
    int runtime = m->runtime != NULL ? open(m->runtime, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (runtime < 0) return;
    record_clean(runtime, m->record.id);
    close(runtime);
}

static void *clean_apart(void *machine) {
    struct machine *m = machine;
    struct sbx_client *client = m->client;
    clean(m);
    client_lock(client);
    cleaned(m);
    client_unlock(client);
    client_release(client);
    return NULL;
}

static bool has_directory(const struct machine *m) {
    char path[LIMIT_PATH];
    if (m->runtime == NULL) return false;
    int n = snprintf(path, sizeof path, "%s/%s", m->runtime, m->record.id);
    return n > 0 && (size_t)n < sizeof path && access(path, F_OK) == 0;
}

static bool start_apart(struct machine *m) {
    pthread_t thread;
    sigset_t all, before;
    client_hold(m->client);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&thread, NULL, clean_apart, m) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started)
        pthread_detach(thread);
    else
        client_release_locked(m->client);
    return started;
}

/* The keeper removes the directory itself, unless it was ended by SIGKILL. Whatever was written there is
   removed without the lock, so that nobody else waits for that. m is not freed before `cleaned`, which may be
   called here. */
static void clean_then(struct machine *m) {
    scope_close(&m->dir);
    m->dir = -1;
    if (has_directory(m)) {
        if (!testing_off("clean-apart") && start_apart(m)) return;
        clean(m);
    }
    cleaned(m);
}

void machine_confirmed(struct machine *m, int how) {
    char what[64];
    describe(how, what, sizeof what);
    m->ended = m->cleaning = true;
    if (m->creating != NULL && m->failure.code == SBX_OK) {
        char agent[400];
        agent_path_say(agent, sizeof agent, m->client->agent_path);
        error_set(&m->failure, SBX_ERROR_AGENT, "%s %s before it was ready", agent, what);
    }
    if (m->sandbox != NULL) {
        m->sandbox->endpoint.control_fd = -1;
        if (m->kills != NULL)
            sandbox_died(m->sandbox, "sandbox %s was killed", m->record.id);
        else
            sandbox_died(m->sandbox, "the agent of sandbox %s %s", m->record.id, what);
    }
    clean_then(m);
}

/* True when the end could be confirmed within that time. */
static bool confirm(struct machine *m, int timeout_ms, int *how) {
    if (!local_spawn_ended(m->child.pidfd, timeout_ms)) return false;
    unwatch(m);
    return local_spawn_wait(&m->child, 0, how);
}

static void on_ended(void *ctx, unsigned events) {
    struct machine *m = ctx;
    (void)events;
    /* What it said last counts: the reason may still stand in the pipe. The end is seen again in the next
     * turn. */
    if (m->creating != NULL && m->child.status >= 0 && take_status(m)) return;
    int how;
    if (confirm(m, 0, &how)) machine_confirmed(m, how);
}

static void end_now(struct machine *m) {
    local_spawn_signal(m->child.pidfd, SIGKILL);
    confirm(m, KILL_GRACE, NULL);
    clean(m);
}

void machine_abandon(struct machine *m) {
    m->sandbox = NULL;
    if (m->cleaning) return; /* which frees it */
    if (!m->ended) {
        machine_kill(m, NULL);
        if (confirm(m, FREE_WAIT, NULL)) {
            m->ended = m->cleaning = true;
            clean_then(m);
            return;
        } else if (m->background || io_background(&m->client->io, 1)) {
            if (!m->background) client_hold(m->client);
            m->background = true;
            return;
        } else {
            end_now(m); /* there is no thread that could wait */
        }
    }
    machine_free(m);
}

void machine_let_go(struct machine *m) {
    m->sandbox = NULL;
    if (m->cleaning) return; /* which frees it */
    if (m->ended || m->child.pid == 0) {
        machine_free(m);
        return;
    }
    /* Its end is none of our business any more, but for the reaping. */
    free(m->runtime);
    m->runtime = NULL;
    scope_close(&m->dir);
    m->dir = -1;
}

void machine_look(struct sbx_client *client) {
    struct machines *all = client->provider_data;
    for (struct machine *m = all->first, *next; m != NULL; m = next) {
        next = m->next;
        if (!m->ended && m->creating == NULL && m->child.pidfd >= 0) on_ended(m, IO_READ);
    }
    machine_orphan(-1);
}

/* ------------------------------------------------------------ Orphans */

static pthread_mutex_t orphans_lock = PTHREAD_MUTEX_INITIALIZER;
static struct orphan {
    struct orphan *next;
    int pidfd;
} * orphans;

void machine_orphan(int pidfd) {
    struct orphan *added = pidfd >= 0 ? malloc(sizeof *added) : NULL;
    /* Never waits for the lock: after a fork it may be held by nobody. */
    if ((pidfd >= 0 && added == NULL) || pthread_mutex_trylock(&orphans_lock) != 0) {
        free(added);
        if (pidfd >= 0) close(pidfd);
        return;
    }
    if (added != NULL) {
        *added = (struct orphan){.next = orphans, .pidfd = pidfd};
        orphans = added;
    }
    for (struct orphan **at = &orphans; *at != NULL;) {
        struct orphan *o = *at;
        struct local_child child = LOCAL_CHILD_INIT;
        child.pidfd = o->pidfd;
        if (local_spawn_wait(&child, 0, NULL)) {
            *at = o->next;
            free(o);
        } else {
            at = &o->next;
        }
    }
    pthread_mutex_unlock(&orphans_lock);
}
