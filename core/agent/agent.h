/* What the agent was told at its start. Read-only afterwards. */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"

struct agent_config {
    const char *version;
    char *token; /* NULL: open server, only with --allow-no-auth */
    int port;
    int64_t idle_ms;    /* -1 = never */
    int64_t started_ms; /* loop_now() of the start */
    size_t max_connections;
    uint64_t soft_open_files; /* what commands start with; the agent raises its own. 0 = leave it */
    bool local;
    bool detached;
    const struct host *host; /* NULL: dedicated mode */
    bool compatible_token;   /* in host mode the token opens each sandbox too */
};

extern struct agent_config agent;

/* 0 in the program for jobs that carry one sandbox: what asks for it is left out by the compiler. */
#ifndef AGENT_WITH_HOST
#define AGENT_WITH_HOST 1
#endif
static inline const struct host *agent_host(void) {
    return AGENT_WITH_HOST ? agent.host : NULL;
}

/* One line to standard error, which begins with the agent's name. */
void agent_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Starts the orderly end: SIGTERM to every process, SIGKILL after a grace, then exit(status). */
void agent_shutdown(int status);

#endif
