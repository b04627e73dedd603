/* The body of exec and processes, checked and turned into what a start needs. */
#ifndef AGENT_COMMAND_H
#define AGENT_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct command {
    char **argv;
    char **envp;
    const char *path_env; /* PATH of envp, or NULL */
    char *cwd;            /* absolute */
    char *cmd_json;       /* cmd as it was sent */
    char *tag;            /* NULL = none */
    int64_t timeout_ms;   /* -1 = none */
    bool has_input;       /* input is given, perhaps empty */
    char *input;
    size_t input_len;
    bool stdin_open; /* more input follows */
    bool background;
    bool until_closed;     /* its end is when its output is closed too */
    uint64_t stream_limit; /* 0 = the agent's */

    char *env_text; /* what envp's own entries point into */
};

struct command_error {
    char text[320];
};

/* False: *error says what is wrong with which field, and nothing is left to free. The environment begins with
   base_env (which is not copied: it must stay), a relative cwd is below base_cwd. */
bool command_parse(const char *body, size_t len, char *const *base_env, const char *base_cwd,
                   struct command *out, struct command_error *error);

void command_started(
    struct command *c); /* frees what only the start needed: what stays is cmd_json, tag and the flags */
void command_free(struct command *c); /* harmless on one that is all zero */

#endif
