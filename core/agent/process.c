#include "agent/process.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/host.h"
#include "agent/process_table.h"
#include "agent/sandbox.h"
#include "agent/spawn.h"
#include "agent/stream.h"
#include "agent/watch.h"
#include "util/clock.h"
#include "util/scope.h"
#include "util/testing.h"
#include "util/text.h"
#include "wire/limits.h"
#include "wire/names.h"

#define TICK_FIRST 1 /* ms after the clone; most commands run by then, and many have ended */
#define TICK_MOST  50

static size_t running_count;
static uint64_t next_number;
static int64_t last_end;
static size_t stream_limit = LIMIT_STREAM, sandbox_limit = LIMIT_SANDBOX_OUT;
static bool ending;
static struct output_pool agent_pool = {.max = LIMIT_AGENT_OUT};

static void turn(struct later *l);

static bool env_size(const char *name, size_t *out) {
    const char *text = getenv(name);
    uint64_t value;
    if (text == NULL || *text == '\0') return true;
    if (!text_u64(text, strlen(text), &value) || value == 0 || value > (size_t)-1 / 2) {
        agent_complain("%s is '%s': a positive number of bytes is needed", name, text);
        return false;
    }
    *out = (size_t)value;
    return true;
}

bool process_init(void) {
    if (!env_size(ENV_STREAM_LIMIT, &stream_limit) || !env_size(ENV_SANDBOX_LIMIT, &sandbox_limit) ||
        !env_size(ENV_AGENT_LIMIT, &agent_pool.max))
        return false;
    process_set_init(&sandbox_machine.processes);
    tree_init();
    if (spawn_init() && reap_init()) return true;
    agent_complain("cannot prepare to start commands: %s", strerror(errno));
    return false;
}

void process_set_init(struct process_set *set) {
    set->pool =
        (struct output_pool){.parent = &agent_pool, .max = sandbox_limit, .reclaim = process_table_reclaim};
}

size_t process_running(void) {
    return running_count;
}

int64_t process_last_end(void) {
    return last_end;
}

void process_changed(struct process *p) {
    loop_later(&p->later, turn);
}

bool process_output_closed(const struct process *p) {
    return p->channels[0].fd < 0 && p->channels[1].fd < 0;
}

bool process_exit_known(const struct process *p) {
    if (p->kill.active) return false;
    if (p->state != PROCESS_ENDED) return p->gave_up;
    return p->channels[0].settled && p->channels[1].settled;
}

/* ---- The end */

static void free_process(struct process *p) {
    process_table_leave(p);
    loop_unlater(&p->later);
    loop_untimer(&p->tick);
    loop_untimer(&p->timeout);
    output_discard(&p->channels[0].out);
    output_discard(&p->channels[1].out);
    spawn_free(p->spawn);
    command_free(&p->command);
    free(p->kill.survivors);
    free(p->kill.before);
    free(p);
}

/* No longer listed, ended, unwatched: what descendants still write is read and dropped, so that they can go
 * on. */
static bool is_over(const struct process *p) {
    bool ended = p->state == PROCESS_ENDED || (p->state == PROCESS_FAILED && p->reap.pid == 0);
    return ended && !p->listed && p->streams == NULL && p->waiters == NULL && p->signals == NULL &&
           !p->kill.active && p->input.fd < 0 && process_output_closed(p);
}

static void kill_done(struct tree_op *op) {
    struct process *p = (struct process *)((char *)op - offsetof(struct process, kill));
    for (size_t i = 0; i < op->survivor_count && p->state == PROCESS_RUNNING; i++)
        if (op->survivors[i] == p->pid) p->gave_up = true; /* its end may never come */
    process_changed(p);
}

void process_kill(struct process *p) {
    p->kill.number = p->number + 1;
    p->kill.leader = p->state == PROCESS_ENDED || p->state == PROCESS_FAILED ? 0 : p->pid;
    p->kill.signal = SIGKILL;
    p->kill.uncounted = p->timed_out && p->kill.leader != 0;
    /* Beside other sandboxes a process whose mark is nobody's may be anybody's. */
    bool only = p->sandbox->tenant == NULL || testing_off("only-sandbox");
    p->kill.alone = only && getpid() == 1 && running_count == (p->kill.leader != 0);
    p->kill.done = kill_done;
    tree_start(&p->kill);
}

static void timed_out(struct timer *t) {
    struct process *p = (struct process *)((char *)t - offsetof(struct process, timeout));
    p->timed_out = true;
    process_kill(p);
}

/* Looks whether the program runs by now. */
static void started(struct process *p) {
    int error = 0;
    const char *step = "";
    enum spawn_state state = spawn_state(p->spawn, &error, &step);
    if (state == SPAWN_PENDING) return;
    spawn_free(p->spawn);
    p->spawn = NULL;
    p->state = state == SPAWN_RUNNING ? PROCESS_RUNNING : PROCESS_FAILED;
    p->spawn_error = error;
    p->spawn_step = step;
    if (p->state == PROCESS_RUNNING) {
        command_started(&p->command);
        return;
    }
    loop_untimer(&p->timeout);
    p->listed = false;
    keys_undo(&p->key);
    channel_close(&p->channels[0]);
    channel_close(&p->channels[1]);
}

static void leader_ended(struct reap *r, int code, int signal) {
    struct process *p = (struct process *)((char *)r - offsetof(struct process, reap));
    p->kill.leader = 0;
    signal_tree_leader_ended(p);
    p->exit_code = code;
    p->exit_signal = signal;
    p->ended_ms = last_end = p->sandbox->processes.last_end = loop_now();
    running_count--;
    p->sandbox->processes.running--;
    loop_untimer(&p->tick);
    if (p->state == PROCESS_STARTING) started(p);
    if (p->state == PROCESS_RUNNING) p->state = PROCESS_ENDED;
    input_last(&p->input);
    for (int i = 0; i < 2; i++)
        channel_leader_ended(&p->channels[i]);
    if (!p->command.until_closed || process_output_closed(p)) loop_untimer(&p->timeout);
    process_changed(p);
}

/* ---- The start */

/* Commands that end at once are read only when they have: until the first tick nobody asks for their pipes.
 */
static void tick(struct timer *t) {
    struct process *p = (struct process *)((char *)t - offsetof(struct process, tick));
    channel_watch(&p->channels[0]);
    channel_watch(&p->channels[1]);
    if (p->state == PROCESS_STARTING) started(p);
    if (p->state == PROCESS_STARTING) {
        p->tick_ms = p->tick_ms * 2 < TICK_MOST ? p->tick_ms * 2 : TICK_MOST;
        loop_timer(&p->tick, loop_now() + p->tick_ms, tick);
        return;
    }
    if (agent_host() != NULL && p->state == PROCESS_RUNNING) agent_host()->running(p->pid);
    process_changed(p);
}

static void channel_news(struct channel *c) {
    struct process *p = c->owner;
    if (p->command.until_closed && p->state == PROCESS_ENDED && process_output_closed(p))
        loop_untimer(&p->timeout);
    process_changed(p);
}

static void input_news(struct input *in) {
    process_changed((struct process *)((char *)in - offsetof(struct process, input)));
}

/* The pipes and the clone; *ends are the child's descriptors, closed by the caller. */
static int launch(struct process *p, int ends[3]) {
    struct command *c = &p->command;
    if (!channel_open(&p->channels[0], &ends[1]) || !channel_open(&p->channels[1], &ends[2])) return errno;
    if ((c->has_input || c->stdin_open) && !input_open(&p->input, &ends[0])) return errno;
    struct spawn_request r = {.argv = c->argv,
                              .envp = c->envp,
                              .path_env = c->path_env,
                              .cwd = c->cwd,
                              .stdin_fd = ends[0],
                              .stdout_fd = ends[1],
                              .stderr_fd = ends[2],
                              .tree_tag = tree_tag(p->number + 1),
                              .sandbox = p->sandbox};
    return spawn_start(&r, &p->spawn, &p->pid);
}

static void feed_first(struct process *p) {
    struct command *c = &p->command;
    if (p->input.fd < 0) return;
    if (c->input_len > 0) input_give(&p->input, steal_pointer(&c->input), c->input_len);
    if (!c->stdin_open) input_end(&p->input);
}

static size_t ceiling(const struct command *c) {
    if (c->stream_limit == 0 || c->stream_limit > stream_limit) return stream_limit;
    return (size_t)c->stream_limit;
}

static struct process *new_process(struct sandbox *sandbox, struct command *c, bool foreground) {
    struct process *p = calloc(1, sizeof *p);
    if (p == NULL) return NULL;
    p->sandbox = sandbox;
    p->command = *c;
    memset(c, 0, sizeof *c);
    p->foreground = foreground;
    p->number = next_number;
    p->spawn_step = "";
    for (int i = 0; i < 2; i++) {
        channel_init(&p->channels[i], &sandbox->processes.pool, ceiling(&p->command), channel_news, p);
    }
    input_init(&p->input, input_news);
    return p;
}

static void abandon(struct process *p) {
    for (int i = 0; i < 2; i++)
        channel_close(&p->channels[i]);
    input_close(&p->input);
    loop_unlater(&p->later);
    command_free(&p->command);
    free(p);
}

struct process *process_start(struct sandbox *sandbox, struct command *c, bool foreground, const char *key,
                              int *error) {
    struct process_set *set = &sandbox->processes;
    *error = ending || set->closed || set->running >= LIMIT_PROCESSES ? EBUSY : ENOMEM;
    struct process *p = *error == EBUSY ? NULL : new_process(sandbox, c, foreground);
    if (p == NULL) {
        command_free(c);
        return NULL;
    }
    p->kill.since = tree_clock();
    cleanup_fd int in = -1;
    cleanup_fd int out = -1;
    cleanup_fd int err = -1;
    int ends[3] = {-1, -1, -1};
    *error = launch(p, ends);
    in = ends[0];
    out = ends[1];
    err = ends[2];
    if (*error != 0) {
        abandon(p);
        return NULL;
    }
    next_number++;
    running_count++;
    set->running++;
    watch_wake();
    tree_started(next_number);
    p->started_ms = loop_now();
    p->started_wall_ms = clock_wall_ms();
    process_table_enter(p);
    reap_expect(&p->reap, p->pid, leader_ended);
    if (key != NULL) keys_remember(&sandbox->keys, &p->key, key);
    feed_first(p);
    p->tick_ms = TICK_FIRST;
    loop_timer(&p->tick, loop_now() + p->tick_ms, tick);
    if (p->command.timeout_ms >= 0) loop_timer(&p->timeout, loop_now() + p->command.timeout_ms, timed_out);
    return p;
}

/* ---- Everything that follows from a change, once at the end of the turn */

static void tell(struct process *p) {
    struct stream *next_stream;
    for (struct stream *s = p->streams; s != NULL; s = next_stream) {
        next_stream = stream_next(s);
        stream_flush(s);
    }
    struct process_waiter *next;
    for (struct process_waiter *w = p->waiters; w != NULL; w = next) {
        next = w->next;
        w->changed(w);
    }
}

static void turn(struct later *l) {
    struct process *p = (struct process *)((char *)l - offsetof(struct process, later));
    if (p->state == PROCESS_STARTING) started(p);
    if (p->state == PROCESS_STARTING) return;
    if (!p->finished && p->state == PROCESS_ENDED && process_exit_known(p)) process_table_finish(p);
    tell(p);
    if (p->finished && testing_off("keep-pipes"))
        for (int i = 0; i < 2; i++)
            channel_close(&p->channels[i]);
    for (int i = 0; i < 2; i++) /* a reader may have made room */
        if (p->tick.slot == 0) channel_watch(&p->channels[i]);
    if (is_over(p)) free_process(p);
}

void process_wait(struct process *p, struct process_waiter *w) {
    w->process = p;
    w->next = p->waiters;
    p->waiters = w;
    process_changed(p);
}

void process_unwait(struct process_waiter *w) {
    if (w->process == NULL) return;
    struct process_waiter **at = &w->process->waiters;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    process_changed(w->process);
    w->process = NULL;
}

void process_refuse_starts(void) {
    ending = true;
}
