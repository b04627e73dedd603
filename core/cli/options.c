#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options_add.h"
#include "print.h"
#include "values.h"

enum kind {
    FLAG,
    TEXT,
    DURATION,
    DURATION_OR_NONE,
    LIFETIME,
    SIZE,
    NUMBER,
    QUANTITY,
    SIGNAL,
    PAIR,
    LIST,
    DOLLARS,
    PORT,
    BIND,
    BIND_RW,
    OLDER_THAN
};

#define FIELD(name) offsetof(struct options, name)

static const struct option {
    unsigned groups;
    const char *provider; /* the only one that has it; NULL = every one */
    char letter;
    const char *name, *value;
    enum kind kind;
    size_t field;
    const char *help;
} OPTIONS[] = {
    {OPTIONS_COMMAND, NULL, 'c', "shell", "TEXT", TEXT, FIELD(shell),
     "run TEXT by /bin/sh -c instead of a command and its arguments"},
    {OPTIONS_COMMAND | OPTIONS_DEFAULTS, NULL, 'e', "env", "NAME[=VALUE]", PAIR, FIELD(env),
     "set an environment variable; without =VALUE it is copied from here"},
    {OPTIONS_COMMAND | OPTIONS_DEFAULTS, NULL, 'w', "workdir", "DIR", TEXT, FIELD(cwd),
     "the directory to run in"},
    {OPTIONS_COMMAND, NULL, 0, "timeout", "DURATION", DURATION, FIELD(timeout_ms),
     "kill the command and all that it started after this time (90, 1.5s, 10m, 2h)"},
    {OPTIONS_ATTACHED, NULL, 'n', "no-stdin", NULL, FLAG, FIELD(no_stdin),
     "give the command no standard input"},
    {OPTIONS_BACKGROUND, NULL, 0, "tag", "TEXT", TEXT, FIELD(tag), "a label of yours, shown by ps"},
    {OPTIONS_SANDBOX, NULL, 0, "idle-timeout", "DURATION", DURATION_OR_NONE, FIELD(idle_timeout_ms),
     "end the sandbox when nothing has used it for so long, or none (default 10m; run, local: none)"},
    {OPTIONS_SANDBOX, NULL, 0, "pool", "NAME", TEXT, FIELD(pool),
     "make it in this pool, which hfsandbox pool create has made"},
    {OPTIONS_POOL, NULL, 0, "name", "NAME", TEXT, FIELD(name),
     "letters, digits, - _ and .; a pool of that name that is there is used (default: a random one)"},
    {OPTIONS_POOL, NULL, 0, "per-host", "N", QUANTITY, FIELD(per_host),
     "sandboxes in each host; this computer is one (default 50)"},
    {OPTIONS_POOL, NULL, 0, "max-hosts", "N", QUANTITY, FIELD(max_hosts),
     "the most hosts at a time (default: jobs as many as it takes, local 1)"},
    {OPTIONS_START, NULL, 0, "start-timeout", "DURATION", DURATION_OR_NONE, FIELD(start_timeout_ms),
     "give up when it does not answer after this time, and leave nothing new behind, or none (default 2m)"},
    {OPTIONS_SANDBOX, "local", 0, "isolation", "LEVEL", TEXT, FIELD(isolation),
     "full (default), landlock (no namespaces) or none (for code you trust)"},
    {OPTIONS_SANDBOX, "local", 0, "network", "none|host", TEXT, FIELD(network),
     "none (default), or this computer's network"},
    {OPTIONS_SANDBOX, "local", 0, "bind", "SRC[:DST]", BIND, 0,
     "show a file or directory of this computer inside, read-only"},
    {OPTIONS_SANDBOX, "local", 0, "bind-rw", "SRC[:DST]", BIND_RW, 0, "the same, writable"},
    {OPTIONS_SANDBOX | OPTIONS_OWN, "local", 0, "memory", "SIZE", SIZE, FIELD(memory),
     "limit of all its processes together (512M, 2G)"},
    {OPTIONS_SANDBOX | OPTIONS_OWN, "local", 0, "processes", "N", NUMBER, FIELD(processes),
     "limit of processes and threads"},
    {OPTIONS_SANDBOX, "local", 0, "disk", "SIZE", SIZE, FIELD(disk),
     "limit of what it writes, which is kept in memory"},
    {OPTIONS_SANDBOX, "local", 0, "open-files", "N", NUMBER, FIELD(open_files),
     "limit of open files of each process"},
    {OPTIONS_POOL, "jobs", 0, "warm", "N", QUANTITY, FIELD(warm),
     "how many hosts to wait for; those that are there count (default 1)"},
    {OPTIONS_POOL, "jobs", 0, "idle-timeout", "DURATION", DURATION_OR_NONE, FIELD(idle_timeout_ms),
     "end a host when it has carried no sandbox for so long, or none (default 10m)"},
    {OPTIONS_SANDBOX | OPTIONS_OWN, "jobs", 0, "spread", NULL, FLAG, FIELD(spread),
     "with --pool: in the host with the fewest sandboxes, not in the fullest one that has room"},
    {OPTIONS_SANDBOX | OPTIONS_DOCTOR | OPTIONS_POOL, "jobs", 0, "image", "IMAGE", TEXT, FIELD(image),
     "a Docker image, or a Space as hf.co/spaces/OWNER/NAME (default python:3.12)"},
    {OPTIONS_SANDBOX | OPTIONS_DOCTOR | OPTIONS_POOL, "jobs", 0, "flavor", "FLAVOR", TEXT, FIELD(flavor),
     "the hardware, as hfsandbox hardware lists it (default cpu-basic)"},
    {OPTIONS_SANDBOX, "jobs", 0, "secret", "NAME[=VALUE]", PAIR, FIELD(secrets),
     "as --env, but the Hub shows it to nobody; without =VALUE it is copied from here"},
    {OPTIONS_SANDBOX, "jobs", 0, "volume", "VOLUME", LIST, FIELD(volumes),
     "hf://[models/|datasets/|spaces/|buckets/]OWNER/NAME[@REV][/PATH]:/MOUNT[:ro|:rw]"},
    {OPTIONS_SANDBOX | OPTIONS_FILTER, "jobs", 'l', "label", "KEY=VALUE", LIST, FIELD(labels),
     "a label of the job; of list and reap: only sandboxes with all these labels"},
    {OPTIONS_SANDBOX | OPTIONS_FILTER | OPTIONS_DOCTOR | OPTIONS_POOL | OPTIONS_OWNER | OPTIONS_OWN, "jobs",
     0, "namespace", "NAME", TEXT, FIELD(hub_namespace),
     "the user or organization that owns and pays it (default: the token's user)"},
    {OPTIONS_SANDBOX, "jobs", 0, "forward-hf-token", NULL, FLAG, FIELD(forward_hf_token),
     "commands find your token in HF_TOKEN: they can act as you and enter your other sandboxes"},
    {OPTIONS_SANDBOX, "jobs", 0, "lifetime", "DURATION", LIFETIME, FIELD(lifetime_ms),
     "the Hub ends the job after this time, whatever it does (default 24h)"},
    {OPTIONS_SANDBOX, "jobs", 0, "max-cost", "DOLLARS", DOLLARS, FIELD(max_cost_micro_usd),
     "what it may cost at most (0.5, $2): the default lifetime is shortened to that, a given one refused"},
    {OPTIONS_SANDBOX, "jobs", 0, "expose", "PORT", PORT, 0, "a TCP port that the Hub's proxy shall reach"},
    {OPTIONS_SANDBOX, "jobs", 0, "client-key", "KEY", TEXT, FIELD(client_key),
     "while a sandbox with this key runs, it is used instead of a new one; run ends it all the same"},
    {OPTIONS_LOGS, NULL, 'f', "follow", NULL, FLAG, FIELD(follow), "go on until the command ends"},
    {OPTIONS_LOGS, NULL, 0, "stdout", "OFFSET", NUMBER, FIELD(from_stdout),
     "begin at this byte of standard output"},
    {OPTIONS_LOGS, NULL, 0, "stderr", "OFFSET", NUMBER, FIELD(from_stderr),
     "begin at this byte of standard error"},
    {OPTIONS_WAIT, NULL, 0, "timeout", "DURATION", DURATION, FIELD(timeout_ms),
     "give up after this time; the command goes on"},
    {OPTIONS_KILL, NULL, 's', "signal", "SIGNAL", SIGNAL, FIELD(signal), "a name or number (default KILL)"},
    {OPTIONS_KILL, NULL, 0, "leader", NULL, FLAG, FIELD(leader),
     "signal the command alone and not what it started"},
    {OPTIONS_KILL, NULL, 'a', "all", NULL, FLAG, FIELD(all),
     "every command of sandbox ID; without ID every sandbox of yours, after a question on the terminal"},
    {OPTIONS_KILL, NULL, 'y', "yes", NULL, FLAG, FIELD(yes),
     "do not ask; where there is no terminal, --all without ID needs it"},
    {OPTIONS_DELETE, NULL, 'y', "yes", NULL, FLAG, FIELD(yes),
     "end it with all its sandboxes, whoever uses them, without asking"},
    {OPTIONS_COPY, NULL, 'r', "recursive", NULL, FLAG, FIELD(recursive),
     "copy directories with all that is in them"},
    {OPTIONS_REAP, NULL, 0, "older-than", "DURATION", OLDER_THAN, 0,
     "end running sandboxes made longer ago than this"},
    {OPTIONS_REAP, NULL, 'a', "all", NULL, FLAG, FIELD(all), "end every running sandbox"},
    {OPTIONS_DOCTOR, NULL, 0, "create", NULL, FLAG, FIELD(create),
     "also make a sandbox, measure it and end it; on Jobs that costs what a minute or two cost"},
    {OPTIONS_JSON, NULL, 0, "json", NULL, FLAG, FIELD(json), "print JSON"},
    {~0u, NULL, 0, "provider", "NAME", TEXT, FIELD(provider),
     "local or jobs: where the sandbox is (default: $HFSANDBOX_PROVIDER, else local)"},
    {~0u, NULL, 'v', "verbose", NULL, FLAG, FIELD(verbose), "tell on standard error what the library does"},
    {~0u, NULL, 'h', "help", NULL, FLAG, FIELD(help), "this text"},
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

const char *options_provider(const char *given) {
    const char *usual = getenv("HFSANDBOX_PROVIDER");
    return given ? given : usual && *usual ? usual : "local";
}

static const char *const PROVIDERS[] = {"local", "jobs"};

static bool refuse_provider(const char *name, size_t of, const char *provider, const char *or_else) {
    print_error(
        "--%s is an option of provider %s, and the provider here is %s: use --provider %s%s, or leave "
        "the option out",
        name, PROVIDERS[of], provider, PROVIDERS[of], or_else);
    return false;
}

/* When all options are known: --provider may come last, and so may --pool. */
static bool check_provider(const struct options *o) {
    const char *provider = options_provider(o->provider);
    bool jobs = strcmp(provider, PROVIDERS[1]) == 0;
    for (size_t i = 0; i < 2; i++) {
        if (strcmp(provider, PROVIDERS[i]) == 0) continue;
        if (o->only[i]) return refuse_provider(o->only[i], i, provider, "");
        if (o->pooled[i] && !(jobs && o->pool))
            return refuse_provider(o->pooled[i], i, provider, jobs ? " or --pool" : "");
    }
    if (o->pool && jobs && o->only[1]) {
        print_error(
            "--%s is an option of a machine, and that of a sandbox in a pool is there already: leave it or "
            "--pool out%s",
            o->only[1],
            find(OPTIONS_POOL, o->only[1], strlen(o->only[1]), 0) ? "; hfsandbox pool create takes it" : "");
        return false;
    }
    if (o->spread && !o->pool) {
        print_error("--spread is of sandboxes in a pool: say which with --pool, or leave it out");
        return false;
    }
    return true;
}

static bool take(struct options *o, const struct option *option, const char *value) {
    char *field = (char *)o + option->field;
    bool good = true;
    const char *form = "";
    if (option->provider)
        (option->groups & OPTIONS_OWN ? o->pooled : o->only)[strcmp(option->provider, PROVIDERS[1]) == 0] =
            option->name;
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
    case LIFETIME:
        form = "a time like 90, 10m or 2d, at most 366d: every job has an end";
        good = sbx_parse_duration(&o->lifetime_ms, value, NULL) == SBX_OK && o->lifetime_ms > 0;
        break;
    case OLDER_THAN:
        form = "a time above 0, like 90, 1.5s, 10m or 2h; --all ends every one";
        o->older_than_given = true;
        good = sbx_parse_duration(&o->older_than_ms, value, NULL) == SBX_OK && o->older_than_ms > 0;
        break;
    case SIZE:
        form = "a size like 65536, 512M or 2G";
        good = values_size((uint64_t *)(void *)field, value);
        break;
    case NUMBER:
        form = "a number";
        good = values_number((uint64_t *)(void *)field, value);
        break;
    case QUANTITY:
        form = option->field == FIELD(warm) ? "a number from 1 to 1000" : "a number from 1 to 1000000";
        good = values_number((uint64_t *)(void *)field, value) && *(uint64_t *)(void *)field >= 1 &&
               *(uint64_t *)(void *)field <= (option->field == FIELD(warm) ? 1000 : 1000000);
        break;
    case SIGNAL:
        form = "the name or number of a signal, like TERM or 15";
        good = (o->signal = values_signal(value)) != 0;
        break;
    case PAIR:
        return options_add_pair((struct options_list *)(void *)field, option->name, value);
    case LIST:
        return options_add_text((struct options_list *)(void *)field, value);
    case DOLLARS:
        form = "an amount of dollars above 0, like 0.5 or $2";
        good = values_dollars((uint64_t *)(void *)field, value);
        break;
    case PORT:
        return options_add_port(o, value);
    case BIND:
    case BIND_RW:
        return options_add_bind(o, option->name, value, option->kind == BIND_RW);
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
    return check_provider(out);
}

void options_free(struct options *options) {
    struct options_list *const lists[] = {&options->env, &options->secrets, &options->labels,
                                          &options->volumes};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        options_add_free(lists[i]);
    for (size_t i = 0; i < options->bind_count; i++) {
        free((void *)(uintptr_t)options->binds[i].source);
        free((void *)(uintptr_t)options->binds[i].target);
    }
    free(options->binds);
    free(options->ports);
}

static void help_of(unsigned groups, const char *provider, const char *only) {
    bool begun = provider == NULL;
    for (size_t i = 0; i < COUNT; i++) {
        const struct option *option = &OPTIONS[i];
        bool here = provider && option->provider ? strcmp(provider, option->provider) == 0
                                                 : provider == option->provider;
        if (!(option->groups & groups) || !here) continue;
        if (!begun) printf("Of provider %s:\n", provider);
        begun = true;
        char left[64], letter[8] = "    ";
        if (option->letter) snprintf(letter, sizeof letter, "-%c, ", option->letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, option->name, option->value ? " " : "",
                 option->value ? option->value : "");
        if (only && option->field == FIELD(provider)) {
            printf("  %-28s %s, and no other one (default: %s)\n", left, only, only);
        } else {
            printf("  %-28s %s\n", left, option->help);
        }
    }
}

void options_help(unsigned groups, const char *provider) {
    help_of(groups, NULL, provider);
    help_of(groups, PROVIDERS[0], provider);
    help_of(groups, PROVIDERS[1], provider);
}
