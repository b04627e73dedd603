/* hfsandbox: the command. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "exits.h"
#include "print.h"
#include "signals.h"
#include "values.h"

#define RUNS (OPTIONS_COMMAND | OPTIONS_ATTACHED)

static const struct command {
    struct options_shape shape;
    cmd_function *function;
    const char *synopsis, *summary, *more;
    const char *provider; /* the only one that it makes sense with */
    bool alone;           /* it opens its sessions itself */
} COMMANDS[] = {
    {{"run", RUNS | OPTIONS_SANDBOX | OPTIONS_START, 0, 0, true, {NULL}},
     cmd_run,
     "[OPTIONS] -- COMMAND [ARGUMENT...]",
     "run one command in a fresh sandbox",
     "Standard input, output and error, the exit code and Ctrl-C pass through; the sandbox ends with the "
     "command. SIGINT,\nSIGTERM and SIGHUP go to all that the command started; a second one (half a second "
     "later or more), "
     "or ten seconds, kill it.\n\n"
     "  hfsandbox run -- python3 -c 'print(6 * 7)'\n"
     "  hfsandbox run -c 'echo \"$1, from $(hostname)\"' -- hello\n"
     "  tar c src | hfsandbox run --timeout 1m --memory 512M -- tar tv\n"
     "  hfsandbox run --bind ~/data:/data --network host -- sh /data/job.sh\n"
     "  hfsandbox run --provider jobs --flavor t4-small --max-cost 1 -- nvidia-smi\n"
     "  hfsandbox run --pool rollouts -- python3 -c 'print(6 * 7)'\n",
     NULL,
     false},
    {{"create", OPTIONS_SANDBOX | OPTIONS_START | OPTIONS_DEFAULTS | OPTIONS_JSON, 0, 0, false, {NULL}},
     cmd_create,
     "[OPTIONS]",
     "make a sandbox that stays, print its id",
     "It ends by hfsandbox kill, or by itself when nothing has used it for the idle timeout.\n\n"
     "  ID=$(hfsandbox create)\n"
     "  ID=$(hfsandbox create --idle-timeout 2h -e MODE=test -w /tmp)\n"
     "  ID=$(hfsandbox create --provider jobs --image debian:12 --secret API_KEY --label team=red)\n"
     "  ID=$(hfsandbox create --pool rollouts)\n",
     NULL,
     false},
    {{"connect", OPTIONS_START | OPTIONS_JSON, 1, 1, false, {"the id of a sandbox"}},
     cmd_connect,
     "ID [OPTIONS]",
     "wait until a sandbox answers, show what it is",
     "  hfsandbox connect \"$ID\"\n"
     "  hfsandbox connect --provider jobs my-org/68f0c1d2e3a4b5c6d7e8f901\n",
     NULL,
     false},
    {{"list", OPTIONS_FILTER | OPTIONS_JSON, 0, 0, false, {NULL}},
     cmd_sandboxes_list,
     "[OPTIONS]",
     "list your sandboxes",
     "Of jobs also what they have cost until now, by the price list. Those of pools are listed with their "
     "pool; it is the\nhosts of that which cost.\n\n"
     "  hfsandbox list\n  hfsandbox list --json | jq -r '.[].id'\n"
     "  hfsandbox list --provider jobs --namespace my-org --label team=red\n",
     NULL,
     false},
    {{"exec", RUNS, 1, 1, true, {"the id of a sandbox"}},
     cmd_process_exec,
     "ID [OPTIONS] -- COMMAND [ARGUMENT...]",
     "run a command in a sandbox",
     "Everything passes through as with run; the sandbox stays. When hfsandbox itself is killed by SIGKILL, "
     "the command goes on,\n"
     "and keeps the sandbox from its idle timeout: hfsandbox ps shows it.\n\n"
     "  hfsandbox exec \"$ID\" -- make test\n"
     "  hfsandbox exec \"$ID\" -c 'cd src && ls | wc -l'\n"
     "  hfsandbox exec \"$ID\" -- cat result.bin > result.bin\n",
     NULL,
     false},
    {{"spawn", OPTIONS_COMMAND | OPTIONS_BACKGROUND | OPTIONS_JSON, 1, 1, true, {"the id of a sandbox"}},
     cmd_process_spawn,
     "ID [OPTIONS] -- COMMAND [ARGUMENT...]",
     "start a command in the background, print its id",
     "  P=$(hfsandbox spawn \"$ID\" -- python3 -u -m http.server)\n"
     "  hfsandbox logs \"$ID\" \"$P\" -f\n"
     "  hfsandbox kill \"$ID\" \"$P\"\n",
     NULL,
     false},
    {{"ps", OPTIONS_JSON, 1, 1, false, {"the id of a sandbox"}},
     cmd_process_list,
     "ID [OPTIONS]",
     "list the commands of a sandbox, running and recently ended",
     "  hfsandbox ps \"$ID\"\n",
     NULL,
     false},
    {{"logs", OPTIONS_LOGS, 2, 2, false, {"the id of a sandbox", "the id of a command"}},
     cmd_process_logs,
     "ID PROCESS [OPTIONS]",
     "print the output of a command",
     "Its standard output goes to standard output, its standard error to standard error. The newest part is "
     "held (1 MiB of each).\n\n"
     "  hfsandbox logs \"$ID\" p-1\n"
     "  hfsandbox logs \"$ID\" p-1 -f\n"
     "  hfsandbox logs \"$ID\" p-1 --stdout 4096     # from a byte on, for example where the last look "
     "ended\n",
     NULL,
     false},
    {{"wait", OPTIONS_WAIT | OPTIONS_JSON, 2, 2, false, {"the id of a sandbox", "the id of a command"}},
     cmd_process_wait,
     "ID PROCESS [OPTIONS]",
     "wait for a command's end, exit with its exit code",
     "  hfsandbox wait \"$ID\" p-1; echo $?\n"
     "  hfsandbox wait \"$ID\" p-1 --timeout 30      # gives up then\n",
     NULL,
     false},
    {{"kill", OPTIONS_KILL | OPTIONS_JSON, 0, 2, false, {NULL}},
     cmd_kill,
     "[ID [PROCESS]] [OPTIONS]",
     "end a sandbox, or a command in it",
     "A command that was killed stays listed, with its output. Of one that had ended already, what it left "
     "behind "
     "is killed; when\nthat is nothing, it is an error, and so is a process that could not be killed. --all "
     "without an id ends every sandbox\nthat list shows, of jobs those of the whole namespace, and pools: on "
     "a "
     "terminal it says how many and asks first,\nelsewhere it ends none without -y.\n\n"
     "  hfsandbox kill \"$ID\"                       # the sandbox with all that is in it\n"
     "  hfsandbox kill \"$ID\" p-1                   # a command and all that it started\n"
     "  hfsandbox kill \"$ID\" p-1 --signal TERM\n"
     "  hfsandbox kill \"$ID\" --all                 # every command of the sandbox, and what ended ones "
     "left\n"
     "  hfsandbox kill --all                       # every sandbox of yours; on a terminal it asks first\n"
     "  hfsandbox kill --all -y                    # without a question, and in a script\n",
     NULL,
     false},
    {{"cp", OPTIONS_COPY, 2, 2, false, {"the source", "the destination"}},
     cmd_copy,
     "SOURCE DESTINATION [OPTIONS]",
     "copy files into or out of a sandbox",
     "One side is in a sandbox, written ID:path or NAMESPACE/ID:path; - is standard input or output. "
     "Relative "
     "paths begin at\nthe sandbox's working directory, in a job the image's. A local name with a colon in it "
     "is "
     "written ./with:colon.\nWith -r, symbolic links are left out.\n\n"
     "  hfsandbox cp data.csv \"$ID\":data.csv\n"
     "  hfsandbox cp -r src \"$ID\":/tmp/\n"
     "  hfsandbox cp \"$ID\":result.json .\n"
     "  hfsandbox cp \"$ID\":result.json - | jq .\n",
     NULL,
     false},
    {{"ls", OPTIONS_JSON, 1, 1, false, {"ID:path"}},
     cmd_files_list,
     "ID:[PATH] [OPTIONS]",
     "list files of a sandbox",
     "  hfsandbox ls \"$ID\":\n  hfsandbox ls \"$ID\":/tmp --json\n",
     NULL,
     false},
    {{"info", OPTIONS_JSON, 1, 1, false, {"the id of a sandbox"}},
     cmd_sandboxes_info,
     "ID [OPTIONS]",
     "show a sandbox: isolation that holds, limits, use",
     "  hfsandbox info \"$ID\"\n  hfsandbox info \"$ID\" --json | jq .isolation.steps\n",
     NULL,
     false},
    {{"pool create", OPTIONS_POOL | OPTIONS_START | OPTIONS_JSON, 0, 0, false, {NULL}},
     cmd_pool_create,
     "[OPTIONS]",
     "make a pool that stays, print its name",
     "It is there for hfsandbox create --pool and run --pool, from any computer with the same Hub token "
     "(local: of the same\nuser). Its hosts end when they have carried no sandbox for the idle timeout, or "
     "by hfsandbox pool delete; a local pool\nhas none, and stays.\n\n"
     "  POOL=$(hfsandbox pool create --per-host 20)\n"
     "  hfsandbox pool create --provider jobs --name rollouts --flavor cpu-upgrade --warm 2 --max-hosts 4\n",
     NULL,
     false},
    {{"pool list", OPTIONS_OWNER | OPTIONS_JSON, 0, 0, false, {NULL}},
     cmd_pool_list,
     "[OPTIONS]",
     "list pools",
     "  hfsandbox pool list\n  hfsandbox pool list --provider jobs --namespace my-org --json\n",
     NULL,
     false},
    {{"pool info", OPTIONS_OWNER | OPTIONS_JSON, 1, 1, false, {"the name of a pool"}},
     cmd_pool_info,
     "NAME [OPTIONS]",
     "show a pool: its hosts, their load, isolation and age",
     "  hfsandbox pool info rollouts\n  hfsandbox pool info my-org/rollouts --json | jq .hosts\n",
     NULL,
     false},
    {{"pool delete", OPTIONS_OWNER | OPTIONS_DELETE | OPTIONS_JSON, 1, 1, false, {"the name of a pool"}},
     cmd_pool_delete,
     "NAME [OPTIONS]",
     "end a pool with its hosts and sandboxes",
     "When it has sandboxes, on a terminal it says how many and asks first; elsewhere it ends none without "
     "-y. Of jobs, the hosts\nthat your token's user has made.\n\n"
     "  hfsandbox pool delete rollouts\n  hfsandbox pool delete rollouts -y\n",
     NULL,
     false},
    {{"reap", OPTIONS_REAP | OPTIONS_FILTER | OPTIONS_JSON, 0, 0, false, {NULL}},
     cmd_sandboxes_reap,
     "[OPTIONS]",
     "clean up what ended sandboxes left",
     "Running sandboxes are ended only with an option; of jobs, those of pools by hfsandbox pool delete.\n\n"
     "  hfsandbox reap\n  hfsandbox reap --older-than 1h\n"
     "  hfsandbox reap --provider jobs --label team=red --all\n",
     NULL,
     false},
    {{"hardware", OPTIONS_JSON, 0, 0, false, {NULL}},
     cmd_hardware,
     "[OPTIONS]",
     "list the hardware that provider jobs offers, with prices",
     "  hfsandbox hardware\n  hfsandbox hardware --json | jq -r '.[] | select(.accelerator) | .flavor'\n",
     "jobs",
     false},
    {{"doctor", OPTIONS_DOCTOR | OPTIONS_START | OPTIONS_JSON, 0, 0, false, {NULL}},
     cmd_doctor,
     "[OPTIONS]",
     "check what sandboxes need here, and print a report",
     "Each line is ok, not ok or skipped, and says what to do. The report is made to be sent: no secret is "
     "in it, "
     "no path of your\nhome directory, and no name of a computer but the Hub's.\n\n"
     "  hfsandbox doctor\n"
     "  hfsandbox doctor --provider jobs --create      # one real sandbox, measured and ended\n",
     NULL,
     true},
};
#define COUNT (sizeof COMMANDS / sizeof *COMMANDS)

#define FAILED                                                                                               \
    "  125                hfsandbox itself failed, or was used wrongly; one line on standard error says "    \
    "why\n"
#define NO_START  "  126, 127           the command cannot be executed; there is no such command\n"
#define SIGNALLED "  128 + N            signal N ended it (130 after Ctrl-C)\n"

static const char EXIT_CODES[] =
    "Exit codes:\n"
    "  of the command     its own, for run, exec and wait\n"
    "  124                it ran longer than --timeout, and was killed with all that it started\n" FAILED
        NO_START SIGNALLED;

static const char WAIT_CODES[] =
    "Exit codes:\n"
    "  of the command     its own\n"
    "  124                with --timeout: it still runs; or it was killed by a timeout of its own. Standard "
    "error "
    "says which,\n"
    "                     and --json: \"running\" is true in the first case, \"timed_out\" in the "
    "second\n" FAILED "  128 + N            signal N ended it\n";

static const char SPAWN_CODES[] =
    "Exit codes:\n"
    "  0                  the command runs; hfsandbox wait gives its own exit code\n" FAILED NO_START;

static const char DOCTOR_CODES[] =
    "Exit codes:\n  0                  no check failed\n  1                  one did\n" FAILED;

static const char OTHER_CODES[] = "Exit codes:\n  0                  it was done\n" FAILED;

static const char ENVIRONMENT[] =
    "Environment:\n"
    "  HFSANDBOX_PROVIDER  where sandboxes are, local or jobs, unless --provider says; local when neither "
    "does\n"
    "  HFSANDBOX_AGENT     the agent to use instead of the one beside the library or in its libexec "
    "directory\n"
    "  XDG_RUNTIME_DIR     where records and sockets of sandboxes that stay are; when it is not set or "
    "cannot be\n"
    "                      used, a private directory below /tmp\n"
    "  TMPDIR              where hfsandbox cp - ID:path keeps its input for the moment\n"
    "Of provider jobs:\n"
    "  HF_TOKEN            the Hub token; else HUGGING_FACE_HUB_TOKEN, else the file that hf auth login "
    "writes\n"
    "  HF_TOKEN_PATH       that file; otherwise token in the directory HF_HOME\n"
    "  HF_HOME             otherwise huggingface in $XDG_CACHE_HOME or ~/.cache\n"
    "  HF_HUB_DISABLE_IMPLICIT_TOKEN  1: none of these is looked at, and provider jobs fails\n"
    "  HF_OIDC_RESOURCE    not supported: where it is set, provider jobs fails\n"
    "  HF_ENDPOINT         the Hub; https://huggingface.co otherwise\n"
    "  HUGGINGFACE_CO_STAGING  1: without HF_ENDPOINT it is the Hub's staging site\n"
    "  HFSANDBOX_ALLOW_HTTP  1: it may be plain HTTP beyond this computer, where the token can be read\n"
    "  HF_HUB_OFFLINE      1: the Hub is not asked for anything, and provider jobs fails\n"
    "  TRANSFORMERS_OFFLINE  the same, where HF_HUB_OFFLINE is not set\n"
    "  HF_HUB_DISABLE_TELEMETRY  1: the Hub is told nothing about the use of hfsandbox; so do\n"
    "                      DISABLE_TELEMETRY and DO_NOT_TRACK\n"
    "  CURL_CA_BUNDLE      the certificates to trust; else those of SSL_CERT_FILE, else the system's\n"
    "http_proxy, https_proxy, all_proxy and no_proxy count as in other programs.\n";

static const char POOLS[] =
    "A pool is many sandboxes in few machines: making one costs a round trip where a host has room. Local, "
    "this computer is the\nhost, and each sandbox has namespaces of its own, as any local one. Of jobs, each "
    "host is a Job that keeps its sandboxes\napart by user, Landlock, limits and system call filter, not by "
    "machines: a pool is for code within one circle of trust.\n";

static int help(void) {
    puts("Usage: hfsandbox COMMAND ...\n\nRuns code in an isolated sandbox, on this computer or on Hugging "
         "Face Jobs.\n\nCommands:");
    for (size_t i = 0; i < COUNT; i++)
        printf("  %-12s %s\n", COMMANDS[i].shape.command, COMMANDS[i].summary);
    puts("\nFor example:\n"
         "  hfsandbox run -- python3 -c 'print(6 * 7)'\n"
         "  ID=$(hfsandbox create)\n"
         "  hfsandbox cp script.py \"$ID\":\n"
         "  hfsandbox exec \"$ID\" -- python3 script.py\n"
         "  hfsandbox kill \"$ID\"\n"
         "  POOL=$(hfsandbox pool create)\n"
         "  ID=$(hfsandbox create --pool \"$POOL\")\n");
    printf("%s\n%s", EXIT_CODES, ENVIRONMENT);
    puts("\nhfsandbox COMMAND --help shows a command's options and examples; hfsandbox --version the "
         "version.");
    return print_end();
}

static int help_command(const struct command *command) {
    printf("Usage: hfsandbox %s %s\n\n%c%s.\n", command->shape.command, command->synopsis,
           command->summary[0] - 'a' + 'A', command->summary + 1);
    printf("%s%s\nOptions:\n", command->more[0] == ' ' ? "\n" : "", command->more);
    options_help(command->shape.groups, command->provider);
    unsigned groups = command->shape.groups;
    printf("\n%s", groups & OPTIONS_ATTACHED     ? EXIT_CODES
                   : groups & OPTIONS_BACKGROUND ? SPAWN_CODES
                   : groups & OPTIONS_WAIT       ? WAIT_CODES
                   : groups & OPTIONS_DOCTOR     ? DOCTOR_CODES
                                                 : OTHER_CODES);
    return print_end();
}

/* Whether commands of two words begin with this one. */
static bool is_family(const char *name) {
    size_t len = strlen(name);
    for (size_t i = 0; i < COUNT; i++) {
        if (strncmp(COMMANDS[i].shape.command, name, len) == 0 && COMMANDS[i].shape.command[len] == ' ')
            return true;
    }
    return false;
}

static int help_family(const char *name) {
    size_t len = strlen(name);
    printf("Usage: hfsandbox %s COMMAND ...\n\n%s\nCommands:\n", name, POOLS);
    for (size_t i = 0; i < COUNT; i++) {
        const struct options_shape *shape = &COMMANDS[i].shape;
        if (strncmp(shape->command, name, len) == 0 && shape->command[len] == ' ')
            printf("  %-12s %s\n", shape->command, COMMANDS[i].summary);
    }
    printf("\nhfsandbox %s COMMAND --help shows a command's options and examples.\n", name);
    return print_end();
}

/* The command that the first words name; *used: how many. NULL: said why. */
static const struct command *find(char **words, int count, int *used) {
    char name[64];
    const struct command *nearest = NULL;
    size_t least = 3;
    *used = is_family(words[0]) ? 2 : 1;
    if (*used > count || (*used == 2 && words[1][0] == '-')) {
        print_error("what is to be done with a %s? hfsandbox %s --help shows the commands", words[0],
                    words[0]);
        return NULL;
    }
    snprintf(name, sizeof name, "%.40s%s%.20s", words[0], *used == 2 ? " " : "", *used == 2 ? words[1] : "");
    for (size_t i = 0; i < COUNT; i++) {
        size_t distance = values_distance(name, COMMANDS[i].shape.command);
        if (distance == 0) return &COMMANDS[i];
        if (distance < least && distance < strlen(COMMANDS[i].shape.command)) {
            least = distance;
            nearest = &COMMANDS[i];
        }
    }
    if (nearest) {
        print_error("there is no command '%s': did you mean %s? (hfsandbox --help lists them)", name,
                    nearest->shape.command);
    } else {
        print_error("there is no command '%s': hfsandbox --help lists them", name);
    }
    return NULL;
}

/* A library's socket must not land on a standard descriptor that the caller closed: what is written there
 * would go to it. */
static bool open_standard(void) {
    for (int fd = 0; fd < 3; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd) return false;
    }
    return true;
}

static int run(const struct command *command, int argc, char **argv) {
    struct options options;
    struct session session = {0};
    int code = EXITS_FAILED;
    bool good = options_parse(&options, &command->shape, argc, argv);
    if (good && options.help) {
        code = help_command(command);
    } else if (good && !signals_install()) {
        print_error("cannot install signal handlers");
    } else if (good) {
        const char *provider = options.provider ? options.provider : command->provider;
        if (command->alone || session_open(&session, provider, options.verbose))
            code = command->function(&session, &options);
        session_close(&session);
        fflush(stdout);
        signals_end();
    }
    options_free(&options);
    return code;
}

static bool is_help(const char *word) {
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

int main(int argc, char **argv) {
    if (!open_standard()) return EXITS_FAILED;
    print_prepare();
    const char *name = argc > 1 ? argv[1] : NULL;
    if (!name) {
        print_error("what is to be done? hfsandbox --help shows the commands");
        return EXITS_FAILED;
    }
    if (strcmp(name, "--version") == 0) {
        printf("hfsandbox %s\n", sbx_version());
        return print_end();
    }
    bool asks = is_help(name) || strcmp(name, "help") == 0;
    char **words = argv + 1 + asks;
    int count = argc - 1 - asks, used;
    if (asks && !count) return help();
    if (name[0] == '-' && !asks) {
        print_error("unknown option %s: options follow the command, as in hfsandbox run %s; hfsandbox --help "
                    "shows more",
                    name, name);
        return EXITS_FAILED;
    }
    if (is_family(words[0]) && (asks ? count == 1 : count > 1 && is_help(words[1])))
        return help_family(words[0]);
    const struct command *command = find(words, count, &used);
    if (!command) return EXITS_FAILED;
    if (asks && count > used) {
        print_error("help takes one command");
        return EXITS_FAILED;
    }
    return asks ? help_command(command) : run(command, count - used, words + used);
}
