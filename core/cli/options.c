#include "options.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "print.h"
#include "values.h"

enum kind { FLAG, TEXT, DURATION, DURATION_OR_NONE, SIZE, NUMBER, SIGNAL, ENV, BIND, BIND_RW, OLDER_THAN };

#define FIELD(name) offsetof(struct options, name)

static const struct option {
    unsigned groups;
    char letter;
    const char *name, *value;
    enum kind kind;
    size_t field;
    const char *help;
} OPTIONS[] = {
    {OPTIONS_COMMAND, 'c', "shell", "TEXT", TEXT, FIELD(shell),
     "run TEXT by /bin/sh -c instead of a command and its arguments"},
    {OPTIONS_COMMAND | OPTIONS_DEFAULTS, 'e', "env", "NAME[=VALUE]", ENV, 0,
     "set an environment variable; without =VALUE it is copied from here"},
    {OPTIONS_COMMAND | OPTIONS_DEFAULTS, 'w', "workdir", "DIR", TEXT, FIELD(cwd), "the directory to run in"},
    {OPTIONS_COMMAND, 0, "timeout", "DURATION", DURATION, FIELD(timeout_ms),
     "kill the command and all that it started after this time (90, 1.5s, 10m, 2h)"},
    {OPTIONS_ATTACHED, 'n', "no-stdin", NULL, FLAG, FIELD(no_stdin), "give the command no standard input"},
    {OPTIONS_BACKGROUND, 0, "tag", "TEXT", TEXT, FIELD(tag), "a label of yours, shown by ps"},
    {OPTIONS_SANDBOX, 0, "isolation", "LEVEL", TEXT, FIELD(isolation),
     "full (default), landlock (no namespaces) or none (for code you trust)"},
    {OPTIONS_SANDBOX, 0, "network", "none|host", TEXT, FIELD(network),
     "none (default), or this computer's network"},
    {OPTIONS_SANDBOX, 0, "bind", "SRC[:DST]", BIND, 0,
     "show a file or directory of this computer inside, read-only"},
    {OPTIONS_SANDBOX, 0, "bind-rw", "SRC[:DST]", BIND_RW, 0, "the same, writable"},
    {OPTIONS_SANDBOX, 0, "memory", "SIZE", SIZE, FIELD(memory),
     "limit of all its processes together (512M, 2G)"},
    {OPTIONS_SANDBOX, 0, "processes", "N", NUMBER, FIELD(processes), "limit of processes and threads"},
    {OPTIONS_SANDBOX, 0, "disk", "SIZE", SIZE, FIELD(disk),
     "limit of what it writes, which is kept in memory"},
    {OPTIONS_SANDBOX, 0, "open-files", "N", NUMBER, FIELD(open_files), "limit of open files of each process"},
    {OPTIONS_DETACHED, 0, "idle-timeout", "DURATION", DURATION_OR_NONE, FIELD(idle_timeout_ms),
     "end the sandbox when nothing has used it for so long, or none (default 10m)"},
    {OPTIONS_LOGS, 'f', "follow", NULL, FLAG, FIELD(follow), "go on until the command ends"},
    {OPTIONS_LOGS, 0, "stdout", "OFFSET", NUMBER, FIELD(from_stdout),
     "begin at this byte of standard output"},
    {OPTIONS_LOGS, 0, "stderr", "OFFSET", NUMBER, FIELD(from_stderr), "begin at this byte of standard error"},
    {OPTIONS_WAIT, 0, "timeout", "DURATION", DURATION, FIELD(timeout_ms),
     "give up after this time; the command goes on"},
    {OPTIONS_KILL, 's', "signal", "SIGNAL", SIGNAL, FIELD(signal), "a name or number (default KILL)"},
    {OPTIONS_KILL, 0, "leader", NULL, FLAG, FIELD(leader),
     "signal the command alone and not what it started"},
    {OPTIONS_KILL, 'a', "all", NULL, FLAG, FIELD(all),
     "every command of sandbox ID; without ID every sandbox of yours"},
    {OPTIONS_COPY, 'r', "recursive", NULL, FLAG, FIELD(recursive),
     "copy directories with all that is in them"},
    {OPTIONS_REAP, 0, "older-than", "DURATION", OLDER_THAN, 0,
     "end running sandboxes made longer ago than this"},
    {OPTIONS_REAP, 'a', "all", NULL, FLAG, FIELD(all), "end every running sandbox"},
    {OPTIONS_JSON, 0, "json", NULL, FLAG, FIELD(json), "print JSON"},
    {~0u, 0, "provider", "NAME", TEXT, FIELD(provider),
     "where the sandbox is (default: $HFSANDBOX_PROVIDER, else local)"},
    {~0u, 'v', "verbose", NULL, FLAG, FIELD(verbose), "tell on standard error what the library does"},
    {~0u, 'h', "help", NULL, FLAG, FIELD(help), "this text"},
};
#define COUNT (sizeof OPTIONS / sizeof *OPTIONS)

static const struct option *find(unsigned groups, const char *name, size_t len, char letter) {
    for (size_t i = 0; i < COUNT; i++) {
        if (!(OPTIONS[i].groups & groups)) continue;
        if (letter ? OPTIONS[i].letter == letter
                   : strlen(OPTIONS[i].name) == len && !memcmp(OPTIONS[i].name, name, len)) {
            return &OPTIONS[i];
        }
    }
    return NULL;
}

static void say_unknown(const struct options_shape *shape, const char *given, size_t len) {
    char name[64] = {0};
    memcpy(name, given, len < sizeof name ? len : sizeof name - 1);
    const struct option *nearest = NULL;
    size_t least = 4;
    for (size_t i = 0; i < COUNT && len > 2; i++) {
        size_t distance = values_distance(name + 2, OPTIONS[i].name);
        if ((OPTIONS[i].groups & shape->groups) && distance < least && distance < strlen(OPTIONS[i].name)) {
            least = distance;
            nearest = &OPTIONS[i];
        }
    }
    if (nearest) {
        print_error("unknown option %.*s: did you mean --%s? (hfsandbox %s --help lists them)", (int)len,
                    given, nearest->name, shape->command);
    } else {
        print_error("unknown option %.*s: hfsandbox %s --help lists the options%s", (int)len, given,
                    shape->command, shape->with_rest ? "; those of the command to run belong behind --" : "");
    }
}

static char *copy(const char *text, size_t len) {
    char *out = print_allocate(len + 1);
    memcpy(out, text, len);
    return out;
}

static bool add_env(struct options *o, const char *value) {
    size_t name = strcspn(value, "=");
    char *entry;
    if (!name) {
        /* Not what was given: the value may be a secret. */
        print_error(*value ? "--env: the name is missing before the '='; write NAME=VALUE"
                           : "--env: the name is missing; write NAME=VALUE, or NAME to copy it from here");
        return false;
    }
    if (value[name]) {
        entry = copy(value, strlen(value));
    } else {
        const char *here = getenv(value);
        if (!here) {
            print_error("--env %s: there is no such variable here to copy; write %s=VALUE", value, value);
            return false;
        }
        entry = print_allocate(name + strlen(here) + 2);
        memcpy(entry, value, name);
        entry[name] = '=';
        memcpy(entry + name + 1, here, strlen(here));
    }
    char **grown = realloc(o->env, (o->env_count + 2) * sizeof *grown);
    if (!grown) {
        free(entry);
        print_error("out of memory");
        return false;
    }
    o->env = grown;
    o->env[o->env_count++] = entry;
    o->env[o->env_count] = NULL;
    return true;
}

static bool add_bind(struct options *o, const char *name, const char *value, bool writable) {
    size_t len = strcspn(value, ":");
    const char *target = value[len] ? value + len + 1 : NULL;
    char *given = copy(value, len);
    char *source = len ? realpath(given, NULL) : NULL;
    if (!source) {
        print_error("--%s %s: %s: %s", name, value, given, len ? strerror(errno) : "the source is missing");
        free(given);
        return false;
    }
    if (target && *target != '/') {
        print_error("--%s %s: the place inside the sandbox is %s; it must be an absolute path", name, value,
                    target);
        free(given);
        free(source);
        return false;
    }
    if (target && strchr(target, ':')) {
        print_error("--%s %s: the place inside the sandbox, %s, has a ':'; --bind shows it read-only and "
                    "--bind-rw writable, "
                    "without a suffix",
                    name, value, target);
        free(given);
        free(source);
        return false;
    }
    /* A link's own path is what its commands will look for, not what it points to. */
    if (!target) target = *given == '/' ? given : source;
    size_t target_len = strlen(target);
    while (target_len > 1 && target[target_len - 1] == '/')
        target_len--;
    sbx_bind *grown = realloc(o->binds, (o->bind_count + 1) * sizeof *grown);
    if (!grown) {
        print_error("out of memory");
        free(given);
        free(source);
        return false;
    }
    o->binds = grown;
    o->binds[o->bind_count++] = (sbx_bind){source, copy(target, target_len), writable};
    free(given);
    return true;
}

static bool take(struct options *o, const struct option *option, const char *value) {
    char *field = (char *)o + option->field;
    bool good = true;
    const char *form = "";
    switch (option->kind) {
    case FLAG:
        *(bool *)(void *)field = true;
        break;
    case TEXT:
        *(const char **)(void *)field = value;
        break;
    case DURATION_OR_NONE:
    case DURATION:
        form = "a time like 90, 1.5s, 10m or 2h";
        if (strcmp(value, "none") == 0) {
            *(int64_t *)(void *)field = option->kind == DURATION ? 0 : SBX_NO_TIMEOUT;
        } else {
            int64_t *ms = (int64_t *)(void *)field;
            good = sbx_parse_duration(ms, value, NULL) == SBX_OK && *ms > 0;
        }
        break;
    case OLDER_THAN:
        form = "a time like 90, 1.5s, 10m or 2h";
        o->older_than_given = true;
        good = sbx_parse_duration(&o->older_than_ms, value, NULL) == SBX_OK;
        break;
    case SIZE:
        form = "a size like 65536, 512M or 2G";
        good = values_size((uint64_t *)(void *)field, value);
        break;
    case NUMBER:
        form = "a number";
        good = values_number((uint64_t *)(void *)field, value);
        break;
    case SIGNAL:
        form = "the name or number of a signal, like TERM or 15";
        good = (o->signal = values_signal(value)) != 0;
        break;
    case ENV:
        return add_env(o, value);
    case BIND:
    case BIND_RW:
        return add_bind(o, option->name, value, option->kind == BIND_RW);
    }
    if (!good) print_error("--%s '%s': it takes %s", option->name, value, form);
    return good;
}

/* One argument that begins with "-", and the next one where it takes a value from there. */
static bool parse_option(struct options *o, const struct options_shape *shape, const char *argument,
                         char ***next, char **end) {
    bool is_long = argument[1] == '-';
    size_t len = is_long ? strcspn(argument + 2, "=") : 0;
    for (const char *at = argument + 1; is_long ? at == argument + 1 : *at; at++) {
        const struct option *option =
            is_long ? find(shape->groups, argument + 2, len, 0) : find(shape->groups, NULL, 0, *at);
        if (!option) {
            char letter[3] = {'-', *at, 0};
            say_unknown(shape, is_long ? argument : letter, is_long ? len + 2 : 2);
            return false;
        }
        const char *attached =
            is_long ? (argument[len + 2] ? argument + len + 3 : NULL) : (at[1] ? at + 1 : NULL);
        if (!option->value) {
            if (is_long && attached) {
                print_error("--%s takes no value, and '%s' was given", option->name, attached);
                return false;
            }
            if (!take(o, option, NULL)) return false;
            continue;
        }
        if (!attached) {
            if (*next == end) {
                print_error("--%s needs a value: --%s %s", option->name, option->name, option->value);
                return false;
            }
            attached = *(*next)++;
        }
        return take(o, option, attached);
    }
    return true;
}

bool options_parse(struct options *out, const struct options_shape *shape, int argc, char **argv) {
    *out = (struct options){0};
    char **next = argv, **end = argv + argc;
    bool separated = false;
    while (next != end) {
        char *argument = *next;
        if (strcmp(argument, "--") == 0) {
            next++;
            separated = true;
            break;
        }
        if (argument[0] == '-' && argument[1]) {
            next++;
            if (!parse_option(out, shape, argument, &next, end)) return false;
            if (out->help) return true;
            continue;
        }
        if (out->operand_count == shape->most) {
            if (shape->with_rest) break;
            print_error("'%s' is one argument too many: see hfsandbox %s --help", argument, shape->command);
            return false;
        }
        out->operands[out->operand_count++] = argument;
        next++;
    }
    for (; separated && !shape->with_rest && next != end; next++) {
        if (out->operand_count == shape->most) {
            print_error("'%s' is one argument too many: see hfsandbox %s --help", *next, shape->command);
            return false;
        }
        out->operands[out->operand_count++] = *next;
    }
    if (out->operand_count < shape->least) {
        print_error("%s is missing: see hfsandbox %s --help", shape->operands[out->operand_count],
                    shape->command);
        return false;
    }
    out->rest = (const char *const *)next;
    out->rest_count = (size_t)(end - next);
    return true;
}

void options_free(struct options *options) {
    for (size_t i = 0; i < options->env_count; i++)
        free(options->env[i]);
    for (size_t i = 0; i < options->bind_count; i++) {
        free((void *)(uintptr_t)options->binds[i].source);
        free((void *)(uintptr_t)options->binds[i].target);
    }
    free(options->env);
    free(options->binds);
}

void options_help(unsigned groups) {
    for (size_t i = 0; i < COUNT; i++) {
        if (!(OPTIONS[i].groups & groups)) continue;
        char left[64], letter[8] = "    ";
        if (OPTIONS[i].letter) snprintf(letter, sizeof letter, "-%c, ", OPTIONS[i].letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, OPTIONS[i].name, OPTIONS[i].value ? " " : "",
                 OPTIONS[i].value ? OPTIONS[i].value : "");
        printf("  %-28s %s\n", left, OPTIONS[i].help);
    }
}
