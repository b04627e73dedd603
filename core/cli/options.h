/* The options of every command, from one table: parsing, suggestions, help. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <hfsandbox/hfsandbox.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Groups of options; a command takes some. */
enum {
    OPTIONS_COMMAND = 1 << 0, /* how a command runs */
    OPTIONS_ATTACHED = 1 << 1,
    OPTIONS_BACKGROUND = 1 << 2,
    OPTIONS_SANDBOX = 1 << 3,  /* what a new sandbox is like */
    OPTIONS_DEFAULTS = 1 << 4, /* environment and directory of a new sandbox's commands */
    OPTIONS_START = 1 << 5,    /* waits until a sandbox answers */
    OPTIONS_FILTER = 1 << 6,   /* which sandboxes */
    OPTIONS_LOGS = 1 << 7,
    OPTIONS_WAIT = 1 << 8,
    OPTIONS_KILL = 1 << 9,
    OPTIONS_COPY = 1 << 10,
    OPTIONS_REAP = 1 << 11,
    OPTIONS_DOCTOR = 1 << 12,
    OPTIONS_JSON = 1 << 13,
    OPTIONS_OWNER = 1 << 14, /* whose */
    OPTIONS_POOL = 1 << 15,  /* what a new pool is like */
    OPTIONS_DELETE = 1 << 16,
    OPTIONS_OWN = 1 << 17 /* no command's: the option is the sandbox's own, not its machine's */
};

struct options_list {
    char **items; /* NULL-terminated, or NULL; each allocated */
    size_t count;
};

struct options {
    /* What was given; 0, NULL, false = not given. */
    bool help, json, verbose, no_stdin, follow, all, yes, leader, recursive, create, forward_hf_token, spread;
    struct options_list env, secrets, labels, volumes;
    const char *cwd, *shell, *tag, *provider, *isolation, *network, *image, *flavor, *hub_namespace,
        *client_key, *pool, *name;
    sbx_bind *binds; /* sources and targets allocated */
    size_t bind_count;
    uint16_t *ports;
    size_t port_count;
    uint64_t processes, memory, disk, open_files, from_stdout, from_stderr, max_cost_micro_usd, per_host,
        max_hosts, warm;
    int64_t timeout_ms, idle_timeout_ms, start_timeout_ms, lifetime_ms, older_than_ms;
    bool older_than_given;
    int signal;
    const char *only[2];   /* names of given options that only local, only jobs has */
    const char *pooled[2]; /* the same of those that a sandbox in a pool has with either */
    /* What is no option. */
    const char *operands[4];
    size_t operand_count;
    const char *const *rest; /* a command and its arguments, NULL-terminated */
    size_t rest_count;
};

/* A command takes from `least` to `most` operands; with `with_rest` what follows them, or "--", is a command
   to run. argv begins behind the name of the command. False: what is wrong has been said. */
struct options_shape {
    const char *command;
    unsigned groups;
    size_t least, most;
    bool with_rest;
    const char *operands[2]; /* what they are, for errors */
};
bool options_parse(struct options *out, const struct options_shape *shape, int argc, char **argv);
void options_free(struct options *options);

const char *options_provider(const char *given); /* the one that is meant, NULL = not said */

/* The options of these groups, on standard output; provider: the only one that the command has, or NULL. */
void options_help(unsigned groups, const char *provider);

#endif
