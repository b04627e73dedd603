#include "agent/lifetime.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/sandbox.h"
#include "agent/conn.h"
#include "agent/host.h"
#include "agent/loop.h"
#include "agent/process.h"
#include "agent/reap.h"
#include "agent/serve.h"
#include "util/clock.h"
#include "util/testing.h"

#define GRACE_PROCESSES   2000 /* between SIGTERM and SIGKILL */
#define GRACE_CONNECTIONS 2000 /* for answers that are on their way */
#define INTERVAL_CHECK    50   /* while the last connections end */

struct agent_config agent;
struct sandbox sandbox_machine;

static struct watch signals;
static struct timer idle_timer, end_timer;
static int exit_status;
static int64_t end_by;
static bool ending, deaf_to_hangups;

static int64_t idle_end(int64_t from) {
    return agent.idle_ms > CLOCK_NEVER - from ? CLOCK_NEVER : from + agent.idle_ms;
}

static void check_idle(struct timer *t) {
    int64_t now = loop_now(), last = agent.started_ms;
    if (conn_last_activity() > last) last = conn_last_activity();
    if (process_last_end() > last) last = process_last_end();
    bool busy = conn_open_streams() > 0 || process_running() > 0;
    if (agent_host() != NULL) { /* a host lives as long as it has sandboxes */
        busy = agent_host()->count() > 0;
        last = agent_host()->last_end() > agent.started_ms ? agent_host()->last_end() : agent.started_ms;
    }
    if (testing_off("activity")) busy = false;
    if (busy) last = now;
    if (now - last >= agent.idle_ms) {
        agent_shutdown(0);
        return;
    }
    loop_timer(t, idle_end(last), check_idle);
}

static void on_signal(struct watch *w, uint32_t events) {
    (void)events;
    struct signalfd_siginfo info;
    if (read(w->fd, &info, sizeof info) != (ssize_t)sizeof info) return;
    if (info.ssi_signo == SIGCHLD) {
        reap_signal();
        return;
    }
    /* In a pid namespace the commands see this process as their init: what they send to it is not for them to
     * decide. */
    if (getpid() == 1 && info.ssi_pid != 0) return;
    if (info.ssi_signo == SIGHUP && deaf_to_hangups) return;
    agent_shutdown(0);
}

bool lifetime_init(void) {
    sigset_t set;
    struct sigaction hangup;
    /* As nohup asks for; commands get the default action back. */
    deaf_to_hangups = sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler == SIG_IGN;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGCHLD);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    /* Blocked, not ignored: commands start with an empty mask, but would inherit what is ignored. */
    sigaddset(&set, SIGPIPE);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0) return false;
    if (fd < 0 || !loop_watch(&signals, fd, EPOLLIN, on_signal)) return false;
    agent.started_ms = loop_now();
    if (!process_init()) return false;
    if (agent_host() != NULL) agent_host()->begin();
    return agent.idle_ms < 0 || loop_timer(&idle_timer, idle_end(loop_now()), check_idle);
}

static void check_end(struct timer *t) {
    if (conn_count() == 0 || loop_now() >= end_by || !loop_timer(t, loop_now() + INTERVAL_CHECK, check_end))
        loop_stop(exit_status);
}

static void processes_ended(void) {
    end_by = loop_now() + GRACE_CONNECTIONS;
    /* Not before: that it cannot be reached any more tells the one who asked for it that all has ended. */
    serve_stop();
    conn_close_idle();
    if (!loop_timer(&end_timer, loop_now(), check_end)) loop_stop(exit_status);
}

static void commands_ended(void) {
    if (agent_host() != NULL)
        agent_host()->end_all(processes_ended);
    else
        processes_ended();
}

void agent_shutdown(int status) {
    if (ending) return;
    ending = true;
    exit_status = status;
    loop_untimer(&idle_timer);
    conn_close_idle();
    process_end_all(GRACE_PROCESSES, commands_ended);
}
