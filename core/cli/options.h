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
    OPTIONS_SANDBOX = 1 << 3, /* what a new sandbox is like */
    OPTIONS_DETACHED = 1 << 4,
    OPTIONS_DEFAULTS = 1 << 5, /* environment and directory of a new sandbox's commands */
    OPTIONS_LOGS = 1 << 6,
    OPTIONS_WAIT = 1 << 7,
    OPTIONS_KILL = 1 << 8,
    OPTIONS_COPY = 1 << 9,
    OPTIONS_REAP = 1 << 10,
    OPTIONS_JSON = 1 << 11
};

struct options {
    /* What was given; 0, NULL, false = not given. */
    bool help, json, verbose, no_stdin, follow, all, leader, recursive;
    char **env; /* NULL-terminated; each allocated */
    size_t env_count;
    const char *cwd, *shell, *tag, *provider, *isolation, *network;
    sbx_bind *binds; /* sources and targets allocated */
    size_t bind_count;
    uint64_t processes, memory, disk, open_files, from_stdout, from_stderr;
    int64_t timeout_ms, idle_timeout_ms, older_than_ms;
    bool older_than_given;
    int signal;
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

void options_help(unsigned groups); /* the options of these groups, on standard output */

#endif
