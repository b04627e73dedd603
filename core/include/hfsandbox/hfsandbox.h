/* hfsandbox: run code you do not trust somewhere else.
 *
 *     sbx_client *client;
 *     sbx_sandbox *sandbox;
 *     sbx_result *result;
 *     sbx_error err;
 *     if (sbx_client_new(&client, NULL, &err) || sbx_sandbox_create(&sandbox, client, NULL, NULL, &err)) die(err.message);
 *     if (sbx_run(&result, sandbox, &(sbx_command){SBX_COMMAND_INIT, .shell = "echo hello"}, NULL, &err) == SBX_OK)
 *         fwrite(sbx_result_stdout(result, NULL), 1, sbx_result_stdout_size(result), stdout);
 *     sbx_result_free(result), sbx_sandbox_free(sandbox), sbx_client_free(client);
 *
 * How to read this page
 *
 * Results come through the first parameter, named `out`. An `out` that is a pointer to a pointer gives an object that the caller owns
 * and frees with the function named after it; freeing NULL does nothing. On failure, and when a queue is given, `*out` is NULL (or
 * unchanged, for numbers and plain structs).
 *
 * `sbx_error *err` is always last, is owned by the caller, and may be NULL. It is written only on failure. There is no
 * hidden error state.
 *
 * Options structs begin with `size_t size`, set by their INIT macro; every field left 0 or NULL means its default. The strings
 * and arrays that they point to are copied before the call returns.
 *
 * Text is UTF-8 and NUL-terminated. Paths inside a sandbox are bytes without NUL, at most 4095 of them; relative ones begin at the
 * sandbox's working directory. Output and files are bytes.
 *
 * A view (`const` pointer result) belongs to the object it came from and is valid until that object is freed, unless its
 * function says less.
 *
 * Threads. Each function says from which threads it may be called:
 *   [any]      from any thread, at the same time as every other call on the same handle but the one that frees it
 *   [one]      from any thread, but from one at a time for the same handle; [any] functions may run meanwhile
 *   [last]     frees: from any thread, when no other call on the handle runs or comes
 * Getters of results, lists, bytes and events only read: any number of threads, until the object is freed. No function may be called from a
 * signal handler. A child keeps its parent alive: handles may be freed in any order. After fork, the child process must not use
 * handles made before it; every call on them there fails with SBX_ERROR_STATE or, when it frees, does nothing to the machine. It may
 * make a client of its own.
 *
 * The program around it. The library installs no signal handlers and keeps no global settings. A client starts one thread, with all
 * signals blocked, when work has to go on that nobody waits for. Each local sandbox is a child process, started by posix_spawn, so the
 * program may get SIGCHLD when one ends; a program that ignores SIGCHLD, or waits for every child and so gets to see this one too, does the library
 * no harm. Once loaded the library stays loaded.
 *
 * Waiting. Functions that may wait take `const sbx_call *call`: how long, until whom, and whether to wait at all (see sbx_call).
 */
#ifndef HFSANDBOX_H
#define HFSANDBOX_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SBX_API __attribute__((visibility("default")))
#else
#define SBX_API
#endif

#define SBX_VERSION "0.1.0"

SBX_API const char *sbx_version(void); /* of the library that runs, like "0.1.0"; static */

/* ---------------------------------------------------------------- Errors */

/* One table gives codes, names and texts; the exception classes of the language bindings follow it. */
#define SBX_STATUS_TABLE(X)                                                                                              \
    X(OK, 0, "ok")                                                                                                       \
    X(DONE, 1, "there is no more")                                                                                       \
    X(PENDING, 2, "started; the completion comes on the queue")                                                          \
    X(ERROR_INVALID, -1, "invalid argument")                                                                             \
    X(ERROR_MEMORY, -2, "out of memory")                                                                                 \
    X(ERROR_STATE, -3, "the handle is closed, or belongs to another process")                                            \
    X(ERROR_TIMEOUT, -4, "the deadline passed")                                                                          \
    X(ERROR_CANCELED, -5, "canceled")                                                                                    \
    X(ERROR_CONNECTION, -6, "the sandbox cannot be reached or the connection was lost")                                  \
    X(ERROR_PROTOCOL, -7, "the peer's answer makes no sense")                                                            \
    X(ERROR_UNSUPPORTED, -8, "the peer or this platform cannot do that")                                                 \
    X(ERROR_AUTH, -9, "the credentials are missing or refused")                                                          \
    X(ERROR_NOT_FOUND, -10, "not found")                                                                                 \
    X(ERROR_EXISTS, -11, "exists already")                                                                               \
    X(ERROR_IS_DIRECTORY, -12, "is a directory")                                                                         \
    X(ERROR_NOT_DIRECTORY, -13, "is not a directory")                                                                    \
    X(ERROR_NOT_EMPTY, -14, "the directory is not empty")                                                                \
    X(ERROR_DENIED, -15, "permission denied")                                                                            \
    X(ERROR_CONFLICT, -16, "the present state does not allow it")                                                        \
    X(ERROR_MISMATCH, -17, "the file has changed: its entity tag does not match")                                        \
    X(ERROR_TOO_LARGE, -18, "over a limit")                                                                              \
    X(ERROR_NO_SPACE, -19, "no space left in the sandbox")                                                               \
    X(ERROR_BUSY, -20, "too much at once; try again")                                                                    \
    X(ERROR_GONE, -21, "no longer held")                                                                                 \
    X(ERROR_SPAWN, -22, "the command could not be started")                                                              \
    X(ERROR_ISOLATION, -23, "a required isolation step cannot be had here")                                              \
    X(ERROR_AGENT, -24, "the sandbox's agent is missing or has ended")                                                   \
    X(ERROR_UNKNOWN_OUTCOME, -25, "the reply was lost: it may or may not have happened")                                 \
    X(ERROR_SYSTEM, -26, "the operating system refused")                                                                 \
    X(ERROR_INTERNAL, -27, "a defect of the library or the agent")

typedef enum sbx_status {
#define SBX_STATUS_ENUM(name, value, text) SBX_##name = value,
    SBX_STATUS_TABLE(SBX_STATUS_ENUM)
#undef SBX_STATUS_ENUM
} sbx_status;

SBX_API const char *sbx_status_name(sbx_status status); /* "ERROR_TIMEOUT"; "UNKNOWN" for a number not in the table; static */
SBX_API const char *sbx_status_text(sbx_status status); /* the table's text; static */

typedef struct sbx_error {
    sbx_status code;
    int http_status;  /* of the peer's answer; 0 = none was involved */
    int system_errno; /* 0 = none was involved */
    char message[512]; /* one line: what was tried, the value at fault, the remedy; never a secret */
} sbx_error;

/* ---------------------------------------------------------------- Waiting */

typedef struct sbx_client sbx_client;
typedef struct sbx_sandbox sbx_sandbox;
typedef struct sbx_process sbx_process;
typedef struct sbx_queue sbx_queue;
typedef struct sbx_cancel sbx_cancel;
typedef struct sbx_result sbx_result;
typedef struct sbx_bytes sbx_bytes;
typedef struct sbx_file_list sbx_file_list;
typedef struct sbx_process_list sbx_process_list;
typedef struct sbx_sandbox_list sbx_sandbox_list;
typedef struct sbx_hardware_list sbx_hardware_list;
typedef struct sbx_pool sbx_pool;
typedef struct sbx_pool_list sbx_pool_list;

#define SBX_NO_TIMEOUT ((int64_t)-1)

/* For the structs that begin with their own size: `sbx_call call = {SBX_CALL_INIT};`, in C also with members behind it. */
#ifdef __cplusplus
#define SBX_INIT(type, member) [] { type value = type(); value.member = sizeof(type); return value; }()
#else
#define SBX_INIT(type, member) .member = sizeof(type)
#endif

/* How a call waits. NULL means: until its default deadline (stated per function; 60 seconds where none is), in this thread.
 *
 * With a queue the function only starts the work and returns SBX_PENDING (or an error, when it could not even start); its `out` may then be
 * NULL, and one that is a pointer to a pointer is set to NULL. Exactly one completion for it comes on the queue later, whatever happens.
 *
 * A peer that falls silent is noticed whatever the deadline: within a minute, or two where the request could be repeated. */
typedef struct sbx_call {
    size_t size;
    int64_t timeout_ms; /* 0 = the function's default; SBX_NO_TIMEOUT = none */
    sbx_cancel *cancel; /* NULL = cannot be canceled */
    sbx_queue *queue;   /* NULL = wait here */
    void *user;         /* handed back with the completion */
} sbx_call;
#define SBX_CALL_INIT SBX_INIT(sbx_call, size)

/* A token that ends calls early with SBX_ERROR_CANCELED. One token may be given to many calls; freeing it while calls use it is fine. Once
   canceled it stays so: later calls with it fail at once. A canceled creation leaves no machine behind. A canceled sbx_run or
   sbx_process_start kills the command with its whole tree: the call returns at once, the kill follows in the background (see
   sbx_client_free). Canceling any other call only ends the waiting. */
SBX_API sbx_status sbx_cancel_new(sbx_cancel **out, sbx_error *err); /* [any] */
SBX_API void sbx_cancel_now(sbx_cancel *cancel);                     /* [any] does not wait */
SBX_API void sbx_cancel_free(sbx_cancel *cancel);                    /* [last] */

/* Where asynchronous calls complete. */
typedef struct sbx_completion {
    size_t size;
    void *user;           /* of the call */
    sbx_status status;    /* what the function would have returned */
    sbx_error error;      /* filled when status is negative */
    /* The result of the call, owned by the caller from now on; the one that the function would have put into `out`, the others NULL. */
    sbx_sandbox *sandbox;
    sbx_process *process;
    sbx_result *result;
    sbx_bytes *bytes;
    sbx_file_list *files;
    sbx_process_list *processes;
    sbx_sandbox_list *sandboxes;
    uint64_t number;             /* of functions whose `out` is a number; of sbx_process_output its out_offset */
    struct sbx_event *event;     /* of sbx_process_next and sbx_process_wait: free it with sbx_event_free */
    struct sbx_file_info *file;  /* of functions whose `out` is a struct: free() is wrong, use sbx_file_info_free */
    sbx_hardware_list *hardware;
    sbx_pool *pool;
    sbx_pool_list *pools;
} sbx_completion;
#define SBX_COMPLETION_INIT SBX_INIT(sbx_completion, size)

SBX_API sbx_status sbx_queue_new(sbx_queue **out, sbx_client *client, sbx_error *err); /* [any] */
/* [any] A descriptor that is readable while a completion waits; for poll, epoll, asyncio. Owned by the queue; only wait on it. */
SBX_API int sbx_queue_fd(const sbx_queue *queue);
/* [one] The next completion; SBX_DONE when none came within timeout_ms (0: only look). */
SBX_API sbx_status sbx_queue_next(sbx_completion *out, sbx_queue *queue, int64_t timeout_ms, sbx_error *err);
SBX_API void sbx_queue_free(sbx_queue *queue); /* [last] cancels what is still under way for it and frees unread results */

/* ---------------------------------------------------------------- Client */

typedef enum sbx_log_level { SBX_LOG_DEBUG = 0, SBX_LOG_INFO = 1, SBX_LOG_WARNING = 2, SBX_LOG_ERROR = 3 } sbx_log_level;

typedef struct sbx_log_field {
    const char *name;
    const char *value;
} sbx_log_field;

/* Called from any thread that uses the client, and from its own; must not call back into the library. Everything is borrowed for the
   call. Never carries a secret, a command, a path or file contents. Not called any more once the program's exit has begun.

     request                   method, route, outcome (ok, not_sent, lost, silent, stopped), status, ms: DEBUG when ok, else INFO
     sandbox.created           id, provider: INFO
     sandbox.progress          id, phase (accepted, running, answering), stage, ms (since the call began): INFO; provider jobs
     sandbox.retried           id ("" = none was made), reason: WARNING; the job cannot start our agent, or the Hub refuses the request's
                               size: another one with the Hub's own agent takes its place
     hub.request               method, route, outcome, status, ms: as request, of the Hub's API
     job.cancel_unconfirmed    id: WARNING; a job that was to be canceled may still run
     sandbox.ended             id, provider ("" of one connected to by its address): INFO
     process.kill_unconfirmed  sandbox: WARNING; a command that was to be killed may still run
     runtime_dir.ignored       variable, reason: WARNING; detached sandboxes are looked for, and made, below /tmp instead
     file.written_in_place     id: WARNING; the agent there cannot replace a file whole
     pool.host                 pool, id, what (found, booted, refused, lost, full, ended, left): INFO, and WARNING of those refused (its agent
                               takes no key of ours), lost (another one was faster: it was canceled) and ended by itself */
typedef void sbx_log_hook(void *user, sbx_log_level level, const char *event, const sbx_log_field *fields, size_t count);

typedef struct sbx_client_options {
    size_t size;
    const char *provider;   /* "local" or "jobs"; NULL = $HFSANDBOX_PROVIDER, else "local" */
    const char *agent_path; /* the hfsandbox-agent to use; NULL = $HFSANDBOX_AGENT, beside the library, then libexec */
    const char *runtime_dir; /* where detached sandboxes keep their records; NULL = $XDG_RUNTIME_DIR/hfsandbox, else a private
                                directory below /tmp */
    sbx_log_hook *log;      /* NULL = none */
    void *log_user;
    sbx_log_level log_level;
    /* Of provider "jobs" alone; local ignores them. */
    const char *hub_endpoint;  /* NULL = $HF_ENDPOINT, else "https://huggingface.co" */
    const char *hub_token;     /* NULL = $HF_TOKEN, $HUGGING_FACE_HUB_TOKEN, the file at $HF_TOKEN_PATH or $HF_HOME/token */
    const char *hub_namespace; /* the user or organization that jobs belong to and are charged to; NULL = the token's user */
    const char *ca_file;       /* certificates to trust, in one PEM file; NULL = $CURL_CA_BUNDLE, $SSL_CERT_FILE, the system's own */
    int no_telemetry;          /* 1 = tell the Hub nothing about the use of this library; so do $HF_HUB_DISABLE_TELEMETRY,
                                  $DISABLE_TELEMETRY, $DO_NOT_TRACK and $HF_HUB_OFFLINE or $TRANSFORMERS_OFFLINE */
} sbx_client_options;
#define SBX_CLIENT_OPTIONS_INIT SBX_INIT(sbx_client_options, size)

/* [any] options NULL = defaults. Cheap: no thread, no connection yet. Provider "jobs" without a token is SBX_ERROR_AUTH. */
SBX_API sbx_status sbx_client_new(sbx_client **out, const sbx_client_options *options, sbx_error *err);
/* [last] Gives the handle back; what was made with it keeps the client itself alive until it is freed too. Commands that sbx_process_free, a
   passed deadline or a cancellation is to kill are killed in the background; this waits for those, at most 2 seconds, and for jobs that
   are to be canceled, at most 5. A program that ends by exit or by returning from main does the same for all its clients, whatever it has
   freed, and cancels the jobs of attached sandboxes. (_exit and a fatal signal do not: attached local sandboxes end with the program all the
   same, commands in others go on, and jobs end by their idle timer or lifetime.) */
SBX_API void sbx_client_free(sbx_client *client);

/* [any] What this client works with, as one JSON object; never a secret. {"version", "provider", "curl" (with its TLS), "ca" (file or
   null), "telemetry" (bool)}, and of provider "jobs" "endpoint", "token_source", "user", "namespace", "organizations": the token is tried for that. */
SBX_API sbx_status sbx_client_info(sbx_bytes **out, sbx_client *client, const sbx_call *call, sbx_error *err);

/* [any] "90" (seconds), "1.5s", "500ms", "10m", "2h", "1d", "2w": a number and a unit, in lower or upper case. SBX_ERROR_INVALID otherwise. */
SBX_API sbx_status sbx_parse_duration(int64_t *out_ms, const char *text, sbx_error *err);

/* ---------------------------------------------------------------- Sandbox */

/* How much a local sandbox is confined. A level that cannot be had is an error, never silently replaced. */
#define SBX_ISOLATION_FULL     "full"     /* namespaces, its own root, Landlock, seccomp, limits: the default */
#define SBX_ISOLATION_LANDLOCK "landlock" /* no namespaces: sees the host's /usr and processes; writes only to its own directory (but see the README on modes and times) */
#define SBX_ISOLATION_NONE     "none"     /* no confinement at all: only for code you trust, or inside another sandbox */

typedef struct sbx_bind {
    const char *source; /* absolute path on this computer */
    const char *target; /* absolute path in the sandbox, not /usr, /bin, /sbin, /lib* and /etc themselves; NULL = the same */
    int writable;       /* 0 = read-only: nothing there can be changed; but sockets that it holds can be connected to */
} sbx_bind;

typedef struct sbx_sandbox_options {
    size_t size;
    const char *isolation;     /* NULL = SBX_ISOLATION_FULL */
    const char *network;       /* "none" (NULL: the default) or "host"; with isolation none only "host" (its default) */
    const sbx_bind *binds;
    size_t bind_count;
    const char *const *env;    /* "NAME=value" for every command; NULL-terminated */
    const char *cwd;           /* default working directory of commands; NULL = the home directory */
    int detached;              /* 1 = outlives this client and process; ends by kill or by its idle timer */
    int64_t idle_timeout_ms;   /* 0 = 10 minutes when detached, else none; SBX_NO_TIMEOUT = none */
    uint64_t limit_processes;  /* 0 = 512 */
    uint64_t limit_memory;     /* bytes, of all its processes together; 0 = 4 GiB, or three quarters of the machine's if that is less */
    uint64_t limit_disk;       /* bytes, of everything it writes (kept in memory); 0 = 1 GiB; isolation full only */
    uint64_t limit_open_files; /* of each process; 0 = 4096 */
    /* Of provider "jobs" alone, which takes of the ones above env, detached and idle_timeout_ms (0 = 10 minutes, attached or not).
       The job of a program that was killed by SIGKILL ends by it once no command runs there; one that goes on keeps it until its lifetime. */
    const char *image;           /* a Docker image, or a Space as "hf.co/spaces/OWNER/NAME"; NULL = "python:3.12". It needs /bin/sh, chmod,
                                    one of base64, openssl, python3 and perl, and one of gzip, gunzip, python3 and perl. */
    const char *flavor;          /* the hardware, see sbx_hardware_list_all; NULL = "cpu-basic" */
    const char *const *secrets;  /* "NAME=value": as env, but the Hub shows them to nobody; NULL-terminated, as the next two */
    const char *const *volumes;  /* "hf://[models/|datasets/|spaces/|buckets/]OWNER/NAME[@REVISION][/PATH]:/MOUNT[:ro|:rw]" */
    const char *const *labels;   /* "key=value", of letters, digits, - and _, at most 100 each; "hf-sandbox…" is the library's */
    const char *hub_namespace;   /* NULL = the client's */
    int64_t lifetime_ms;         /* the Hub ends the job then, whatever it does; 0 = 24 hours; whole seconds, rounded up */
    uint64_t max_cost_micro_usd; /* the most that the job may cost in its lifetime, in millionths of a dollar; 0 = no ceiling. An explicit
                                    lifetime_ms above it is an error; the default one is shortened to fit. */
    const uint16_t *ports;       /* TCP ports that the Hub's proxy shall reach directly (at most 10); see sbx_sandbox_port_url */
    size_t port_count;
    int forward_hf_token;        /* 1 = commands find the client's Hub token in HF_TOKEN. Whoever reads it there can act as you and, with it,
                                    enter each of your other sandboxes: their keys are derived from it. */
    const char *client_key;      /* letters, digits, - and _, at most 64: creations with the same key, by whatever program, give the same sandbox
                                    as long as it runs (then ending with the first attached handle that is freed); NULL = always a new one */
} sbx_sandbox_options;
#define SBX_SANDBOX_OPTIONS_INIT SBX_INIT(sbx_sandbox_options, size)

/* [any] Makes a sandbox and returns when it answers. A failure, a deadline or a cancellation at any point leaves nothing running (what a lost
   reply may have left is looked for and ended in the background). Options that the provider does not have are SBX_ERROR_INVALID.
   Default deadline 120 seconds; hardware that is scarce may need more. */
SBX_API sbx_status sbx_sandbox_create(sbx_sandbox **out, sbx_client *client, const sbx_sandbox_options *options, const sbx_call *call,
                                      sbx_error *err);

/* [any] A handle to a running sandbox, by its id. Freeing it leaves the sandbox running. Local: a detached one of this user. Jobs: "ID" or
   "NAMESPACE/ID", from any computer with the same Hub token that made it; one that is being scheduled is waited for. Those of pools, "HOST.NAME",
   likewise. */
SBX_API sbx_status sbx_sandbox_connect(sbx_sandbox **out, sbx_client *client, const char *id, const sbx_call *call, sbx_error *err);

/* [any] A handle to an agent that answers at a base URL ("http://127.0.0.1:49983") or a Unix socket ("unix:/path", at most 107 bytes), for agents
   that somebody else started. token NULL = none; visible ASCII, at most 60,000 bytes. What the peer cannot do is SBX_ERROR_UNSUPPORTED
   when it is asked for. */
SBX_API sbx_status sbx_sandbox_connect_endpoint(sbx_sandbox **out, sbx_client *client, const char *endpoint, const char *token,
                                                const sbx_call *call, sbx_error *err);

SBX_API const char *sbx_sandbox_id(const sbx_sandbox *sandbox); /* [any] */

/* [any] How long its creation took, or connecting to a job, in milliseconds since the call began; -1 = that did not happen here (a job was connected
   to: not accepted; local: neither accepted nor running, and nothing where it was connected to). */
typedef struct sbx_timings {
    size_t size;
    int64_t accepted_ms; /* the Hub has accepted the job */
    int64_t running_ms;  /* the job was seen running */
    int64_t answered_ms; /* the agent has answered */
} sbx_timings;
#define SBX_TIMINGS_INIT SBX_INIT(sbx_timings, size)
SBX_API sbx_status sbx_sandbox_timings(sbx_timings *out, const sbx_sandbox *sandbox, sbx_error *err);

/* [any] Where a server that listens on a TCP port inside is reached: a URL without a slash at its end, and the headers that a request to it
   needs, as "Name: value" lines that end with CR LF. The headers are secrets: give them to nobody but that URL, and follow no redirect
   with them. In a pool the server listens on the Unix socket $SBX_PROXY_DIR/PORT.sock instead. Not for local sandboxes
   (SBX_ERROR_UNSUPPORTED). Neither waits. */
SBX_API sbx_status sbx_sandbox_port_url(sbx_bytes **out, sbx_sandbox *sandbox, uint16_t port, sbx_error *err);
SBX_API sbx_status sbx_sandbox_port_headers(sbx_bytes **out, sbx_sandbox *sandbox, uint16_t port, sbx_error *err);

/* [any] Ends the sandbox and everything in it; returns when that is confirmed: its machine has ended or, of one connected to by its address, all
   commands have ended and the agent cannot be reached any more. Ending it twice is fine. Calls under way on it fail with SBX_ERROR_AGENT.
   When the end cannot be confirmed the handle stays usable and kill may be called again. Default deadline 30 seconds. */
SBX_API sbx_status sbx_sandbox_kill(sbx_sandbox *sandbox, const sbx_call *call, sbx_error *err);

/* [any] The same without a handle, for any sandbox that sbx_sandbox_list_all shows: no agent needs to answer, and no record needs to be readable.
   SBX_ERROR_NOT_FOUND when there is none of that id or it has ended. Default deadline 30 seconds. */
SBX_API sbx_status sbx_sandbox_kill_by_id(sbx_client *client, const char *id, const sbx_call *call, sbx_error *err);

/* [last] Gives the handle back. A sandbox that this client created and that is not detached is ended when its process handles are gone too
   (without waiting longer than a few milliseconds); a detached or connected one goes on. */
SBX_API void sbx_sandbox_free(sbx_sandbox *sandbox);

/* [any] What the sandbox is: isolation steps that hold, limits, use, as one JSON object (the fields are listed in core/wire/README.md under
   "The machine", plus "id", "provider", "detached", and of jobs "namespace", "image", "flavor"). */
SBX_API sbx_status sbx_sandbox_info(sbx_bytes **out, sbx_sandbox *sandbox, const sbx_call *call, sbx_error *err);

/* Which sandboxes. NULL = all. */
typedef struct sbx_filter {
    size_t size;
    int64_t min_age_ms;         /* those made at least so long ago; jobs: by the Hub's clock */
    const char *const *labels;  /* jobs: those with all these labels, "key=value"; NULL-terminated */
    const char *hub_namespace;  /* jobs: NULL = the client's */
} sbx_filter;
#define SBX_FILTER_INIT SBX_INIT(sbx_filter, size)

/* [any] Local: the detached sandboxes of this user, and the attached ones of this client. Jobs: all of the namespace that are scheduled or run,
   whoever made them; without those of pools, which sbx_pool_sandboxes lists. */
SBX_API sbx_status sbx_sandbox_list_all(sbx_sandbox_list **out, sbx_client *client, const sbx_filter *filter, const sbx_call *call,
                                        sbx_error *err);
typedef struct sbx_sandbox_info_row {
    const char *id;
    const char *provider;
    int64_t created_at_ms; /* since 1970 */
    int64_t pid;           /* of the local agent's keeper; 0 = none */
    int detached;
    int running; /* 0 = local: only its record is left, sbx_reap removes it; jobs: not yet */
    int damaged; /* 1 = its record cannot be read: it can be ended, but not used */
    /* Jobs; NULL and 0 for local ones. */
    const char *hub_namespace; /* the owner; with it the id is "NAMESPACE/ID" */
    const char *stage;      /* the Hub's word: "SCHEDULING", "RUNNING" */
    const char *image;
    const char *flavor;
    int64_t started_at_ms;  /* 0 = not yet */
    int64_t cost_micro_usd; /* until now, by the price list; -1 = its flavor is not on the list */
    const char *pool; /* whose it is; NULL = none */
} sbx_sandbox_info_row;
SBX_API size_t sbx_sandbox_list_count(const sbx_sandbox_list *list);
SBX_API const sbx_sandbox_info_row *sbx_sandbox_list_get(const sbx_sandbox_list *list, size_t index); /* NULL past the end */
SBX_API void sbx_sandbox_list_free(sbx_sandbox_list *list); /* [last] */

/* [any] Ends the sandboxes that sbx_sandbox_list_all lists, apart from attached ones of this client, and removes what ended ones left. `out` (may be
   NULL) gets how many were ended or cleaned up. */
SBX_API sbx_status sbx_reap(uint64_t *out, sbx_client *client, const sbx_filter *filter, const sbx_call *call, sbx_error *err);

/* [any] The hardware that provider "jobs" offers, and its price; as the Hub lists it. */
SBX_API sbx_status sbx_hardware_list_all(sbx_hardware_list **out, sbx_client *client, const sbx_call *call, sbx_error *err);
typedef struct sbx_hardware {
    const char *flavor;
    const char *title;
    const char *cpu;         /* "2 vCPU" */
    const char *memory;      /* "16 GB" */
    const char *disk;
    const char *accelerator; /* "1 x T4, 16 GB"; NULL = none */
    int64_t micro_usd_per_minute; /* -1 = not said */
} sbx_hardware;
SBX_API size_t sbx_hardware_list_count(const sbx_hardware_list *list);
SBX_API const sbx_hardware *sbx_hardware_list_get(const sbx_hardware_list *list, size_t index); /* NULL past the end */
SBX_API void sbx_hardware_list_free(sbx_hardware_list *list); /* [last] */

/* ---------------------------------------------------------------- Pools */

/* Many sandboxes in few machines. Provider "jobs": each machine is a Job, a host, whose agent keeps its sandboxes apart by user,
   Landlock, limits and system call filter; that is less than a machine of its own, and whoever breaks out of one reaches its neighbours: a pool
   is for code within one circle of trust. Making a sandbox costs one round trip where a host has room. Provider "local": this computer is
   the host, and each sandbox has namespaces of its own, as any local one.

   A pool is found by its name, from any machine with the same Hub token (local: by any program of this user). Programs that create in one
   pool at the same time never get the same sandbox, and never more of them than the hosts carry: the host decides. Hosts are booted one after
   another as they are needed, and as many of them as are needed; one that somebody else is booting is waited for. */

typedef enum sbx_pool_adopt {
    SBX_ADOPT_ALL = 0,     /* hosts that run or are starting, whatever program of the token's user has made them */
    SBX_ADOPT_RUNNING = 1, /* those that run */
    SBX_ADOPT_NONE = 2     /* only hosts that this handle has booted */
} sbx_pool_adopt;

typedef struct sbx_pool_options {
    size_t size;
    const char *name;            /* letters, digits, - _ and ., at most 100; NULL = "pool-" and twelve random digits */
    unsigned sandboxes_per_host; /* 0 = 50 */
    unsigned max_hosts;          /* the most that run or start at a time, whoever booted them; 0 = no ceiling; local: 0 = 1 */
    int warm;                    /* hosts that sbx_pool_create waits for; 0 = 1, -1 = none: the first sandbox boots one. Local: none */
    int spread;                  /* 1 = a new sandbox goes to the host with the fewest; 0 = to the fullest one that has room */
    int detached;                /* 1 = its hosts go on when this handle is freed. 0 = those that it booted are canceled then, unless they carry
                                    sandboxes of others */
    int64_t idle_timeout_ms;     /* a host without sandboxes ends then; 0 = 10 minutes; SBX_NO_TIMEOUT = none */
    /* Of provider "jobs" alone. */
    int64_t start_timeout_ms;    /* a host that does not answer by then has failed; 0 = 2 minutes */
    sbx_pool_adopt adopt;
    const char *image;           /* as in sbx_sandbox_options, of all hosts; those that run another one are left alone */
    const char *flavor;          /* likewise */
    const char *hub_namespace;   /* NULL = the client's */
} sbx_pool_options;
#define SBX_POOL_OPTIONS_INIT SBX_INIT(sbx_pool_options, size)

/* [any] A pool of that name, with `warm` hosts up: those that are there already count, the others are booted. A failure, a deadline or a
   cancellation leaves none behind that it has booted and nobody uses. options NULL = defaults. Default deadline: start_timeout_ms. */
SBX_API sbx_status sbx_pool_create(sbx_pool **out, sbx_client *client, const sbx_pool_options *options, const sbx_call *call, sbx_error *err);

/* [any] A handle to a pool that has hosts (local: sandboxes), with the settings that those were booted with. Of options counts hub_namespace, and
   spread, adopt and start_timeout_ms; NULL = defaults. SBX_ERROR_NOT_FOUND when none runs, then and whenever none runs any more: it is
   not brought back by a handle that was only connected. Freeing it leaves all hosts running. */
SBX_API sbx_status sbx_pool_connect(sbx_pool **out, sbx_client *client, const char *name, const sbx_pool_options *options,
                                    const sbx_call *call, sbx_error *err);

SBX_API const char *sbx_pool_name(const sbx_pool *pool); /* [any] */

/* [any] Makes a sandbox in the pool. Its id is "HOST.NAME" (local: as any), which connects and kills like others from anywhere. When all hosts are full and
   max_hosts are up: SBX_ERROR_BUSY. Of options it takes env, detached, idle_timeout_ms (0 = 10 minutes), limit_processes and limit_memory;
   local pools take all that a local sandbox has. forward_hf_token is refused, and so is the client's Hub token as a value of env:
   it opens every sandbox of the pool; give a token made for the purpose. Default deadline 120 seconds. */
SBX_API sbx_status sbx_pool_sandbox(sbx_sandbox **out, sbx_pool *pool, const sbx_sandbox_options *options, const sbx_call *call,
                                    sbx_error *err);

/* [any] Waits until `hosts` hosts are up, at most max_hosts; boots those that are missing. `out` (may be NULL) gets how many are. Default deadline:
   start_timeout_ms. Local: 1 at once. */
SBX_API sbx_status sbx_pool_warm(uint64_t *out, sbx_pool *pool, unsigned hosts, const sbx_call *call, sbx_error *err);

/* [any] What the pool is now, as one JSON object: {"name","provider","image","flavor","namespace","sandboxes_per_host","max_hosts" (0 = no ceiling),
   "sandboxes","hosts":[{"id","stage","ours" (bool: booted by this handle),"adopted" (bool: this handle uses it),"sandboxes" (-1 = it does not
   say),"capacity","age_ms","isolation" (as its agent says, or null)}]}. */
SBX_API sbx_status sbx_pool_info(sbx_bytes **out, sbx_pool *pool, const sbx_call *call, sbx_error *err);

/* [any] The sandboxes in it, as rows of sbx_sandbox_list_all. */
SBX_API sbx_status sbx_pool_sandboxes(sbx_sandbox_list **out, sbx_pool *pool, const sbx_call *call, sbx_error *err);

/* [any] Ends all hosts of the pool that the token's user has made, whoever uses them (local: all its sandboxes), and returns when the Hub has
   taken that. `out` (may be NULL) gets how many. The handle makes no more sandboxes then (SBX_ERROR_STATE). Default deadline 60 seconds. */
SBX_API sbx_status sbx_pool_delete(uint64_t *out, sbx_pool *pool, const sbx_call *call, sbx_error *err);

/* [last] Gives the handle back; sandboxes made with it go on, and keep the pool itself until they are freed too. */
SBX_API void sbx_pool_free(sbx_pool *pool);

/* [any] The pools that have hosts (local: sandboxes), whoever made them. hub_namespace NULL = the client's. */
SBX_API sbx_status sbx_pool_list_all(sbx_pool_list **out, sbx_client *client, const char *hub_namespace, const sbx_call *call, sbx_error *err);
typedef struct sbx_pool_row {
    const char *name;
    const char *provider;
    const char *hub_namespace; /* this and the next two: jobs; NULL for local ones */
    const char *image;
    const char *flavor;
    uint64_t hosts;              /* that run or start */
    uint64_t sandboxes_per_host; /* 0 = not said */
    int64_t created_at_ms;       /* of the oldest host, or local sandbox */
} sbx_pool_row;
SBX_API size_t sbx_pool_list_count(const sbx_pool_list *list);
SBX_API const sbx_pool_row *sbx_pool_list_get(const sbx_pool_list *list, size_t index); /* NULL past the end */
SBX_API void sbx_pool_list_free(sbx_pool_list *list); /* [last] */

/* ---------------------------------------------------------------- Commands */

typedef struct sbx_command {
    size_t size;
    const char *const *argv; /* NULL-terminated; exactly one of argv and shell */
    const char *shell;       /* run by /bin/sh -c */
    const char *const *env;  /* "NAME=value", NULL-terminated, added to the sandbox's */
    const char *cwd;         /* NULL = the sandbox's */
    int64_t timeout_ms;      /* then the whole process tree is killed and the result says timed_out; 0 = none */
    const void *input;       /* standard input, input_len bytes; NULL = none (/dev/null) */
    size_t input_len;
    int input_open;          /* 1 = more input follows by sbx_process_write (sbx_process_start only) */
    int background;          /* 1 = nobody need read its output: the newest part is kept, and sbx_process_next attaches when first
                                called. 0 = the output is for this handle: reading slowly slows the command */
    int wait_descendants;    /* 1 = its end is when descendants have closed its output too; 0 = when the command itself has ended */
    size_t output_limit;     /* sbx_run: the most bytes kept of each stream, the rest is counted; 0 = 16 MiB */
    const char *tag;         /* a label of the caller's, at most 256 bytes */
} sbx_command;
#define SBX_COMMAND_INIT SBX_INIT(sbx_command, size)

/* [any] Runs a command and collects its output. SBX_OK means that it ran, whatever its exit code. Default deadline: none (the command's own
   timeout_ms bounds it). When the deadline passes or the call is canceled, the command's tree is killed in the background. */
SBX_API sbx_status sbx_run(sbx_result **out, sbx_sandbox *sandbox, const sbx_command *command, const sbx_call *call, sbx_error *err);

SBX_API int sbx_result_exit_code(const sbx_result *result); /* -1 when a signal ended it */
SBX_API int sbx_result_signal(const sbx_result *result);    /* 0 when it exited by itself */
SBX_API int sbx_result_timed_out(const sbx_result *result);
SBX_API int64_t sbx_result_duration_ms(const sbx_result *result);
SBX_API const char *sbx_result_limit(const sbx_result *result); /* what of the sandbox ended it: "memory", or "sandbox" when the sandbox itself was
                                                                    ending (killed, idle, its lifetime over); NULL = none */
SBX_API const void *sbx_result_stdout(const sbx_result *result, size_t *len); /* len may be NULL; never NULL; a NUL follows the bytes */
SBX_API const void *sbx_result_stderr(const sbx_result *result, size_t *len);
SBX_API size_t sbx_result_stdout_size(const sbx_result *result);
SBX_API size_t sbx_result_stderr_size(const sbx_result *result);
SBX_API uint64_t sbx_result_stdout_cut(const sbx_result *result); /* bytes beyond output_limit that are not in the result */
SBX_API uint64_t sbx_result_stderr_cut(const sbx_result *result);
SBX_API void sbx_result_free(sbx_result *result); /* [last] */

/* [any] Starts a command and returns when it runs. It is started once, whatever happens to the connection; output already produced is not
   lost by a lost connection. */
SBX_API sbx_status sbx_process_start(sbx_process **out, sbx_sandbox *sandbox, const sbx_command *command, const sbx_call *call,
                                     sbx_error *err);

/* [any] A handle to a process of the sandbox by id ("p-3") or pid ("1234"); sbx_process_next begins at the oldest output held. The last
   256 commands that have ended can be attached to; older ones are forgotten. */
SBX_API sbx_status sbx_process_attach(sbx_process **out, sbx_sandbox *sandbox, const char *id, const sbx_call *call, sbx_error *err);

SBX_API const char *sbx_process_id(const sbx_process *process); /* [any] */
SBX_API int64_t sbx_process_pid(const sbx_process *process); /* [any] as the sandbox sees it */

typedef enum sbx_event_type {
    SBX_EVENT_STDOUT = 1,
    SBX_EVENT_STDERR = 2,
    SBX_EVENT_GAP = 3, /* output that nobody read in time was dropped: `dropped` bytes of `stream` */
    SBX_EVENT_EXIT = 4 /* always last */
} sbx_event_type;

typedef struct sbx_event {
    size_t size;
    sbx_event_type type;
    const void *data; /* STDOUT, STDERR: borrowed until the next sbx_process_next on this handle, or its end */
    size_t len;
    uint64_t offset;       /* where data stands in its stream, or where the gap begins */
    sbx_event_type stream; /* GAP: SBX_EVENT_STDOUT or SBX_EVENT_STDERR */
    uint64_t dropped;
    int exit_code;         /* EXIT: as in sbx_result */
    int signal;
    int timed_out;
    int64_t duration_ms;
    const char *limit;     /* EXIT: as sbx_result_limit; borrowed from the process handle */
    size_t survivors;      /* EXIT: processes of its tree that could not be killed after a timeout; 0 is usual */
} sbx_event;
#define SBX_EVENT_INIT SBX_INIT(sbx_event, size)

/* [one] The next piece of output, or the end: SBX_OK and *out, SBX_DONE after SBX_EVENT_EXIT. A lost connection is taken up again where it broke.
   Default deadline: none. A second call while one waits is SBX_ERROR_STATE. */
SBX_API sbx_status sbx_process_next(sbx_event *out, sbx_process *process, const sbx_call *call, sbx_error *err);
SBX_API void sbx_event_free(sbx_event *event); /* [last] only for events that came by a completion */

/* [any] Feeds standard input; `end` 1 closes it after the bytes. Returns when the agent has taken them all (a command that does not read
   makes it wait). Nothing is fed twice. Calls at the same time are fed one after the other, in the order in which they began. */
SBX_API sbx_status sbx_process_write(sbx_process *process, const void *data, size_t len, int end, const sbx_call *call, sbx_error *err);

/* [any] Sends a signal: whole_tree 1 = to every process that the command started, 0 = to the command alone. `out` (may be NULL) gets how many were
   signalled. SBX_ERROR_CONFLICT when it has ended. */
SBX_API sbx_status sbx_process_signal(uint64_t *out, sbx_process *process, int signal, int whole_tree, const sbx_call *call,
                                      sbx_error *err);

/* [any] Kills the whole tree with SIGKILL, and returns when it has ended; the command stays listed with its output. `out` (may be NULL) gets how many
   processes were killed, those included that a command which had ended already has left behind: 0 when there was none. (The Hub's own
   agent forgets the command, and at best tells 1 or 0, whether it was running.) */
SBX_API sbx_status sbx_process_kill(uint64_t *out, sbx_process *process, const sbx_call *call, sbx_error *err);

/* [any] Waits for the end without reading output: SBX_OK and the exit in *out, whose data is NULL. Default deadline: none. A foreground command that
   writes more than the buffers hold (about 1 MiB of each stream) waits for its reader and does not end: read its output by
   sbx_process_next, or start it with background 1. */
SBX_API sbx_status sbx_process_wait(sbx_event *out, sbx_process *process, const sbx_call *call, sbx_error *err);

/* [any] Bytes of one stream (SBX_EVENT_STDOUT or SBX_EVENT_STDERR) that are held now, from offset on, at most max (0 = 1 MiB). `out_offset` (may be NULL) gets
   where they really begin, which is later than asked when older ones were dropped. Does not wait for more. */
SBX_API sbx_status sbx_process_output(sbx_bytes **out, uint64_t *out_offset, sbx_process *process, sbx_event_type stream,
                                      uint64_t offset, size_t max, const sbx_call *call, sbx_error *err);

/* [last] Gives the handle back. A foreground process (background 0) of sbx_process_start that still runs is killed with its tree: this does not wait for
   that, the kill follows in the background (see sbx_client_free). Others go on, and so do all that sbx_process_attach has given. */
SBX_API void sbx_process_free(sbx_process *process);

/* [any] The commands of a sandbox: those that run, and the last 256 that have ended. */
SBX_API sbx_status sbx_process_list_all(sbx_process_list **out, sbx_sandbox *sandbox, const sbx_call *call, sbx_error *err);
typedef struct sbx_process_info {
    const char *id;
    const char *command; /* as given: the shell text, or the arguments as a JSON array */
    const char *tag;     /* NULL = none */
    int64_t pid;
    int64_t started_at_ms;
    int running;
    int exit_code; /* when not running, as in sbx_result */
    int signal;
    int timed_out;
    uint64_t stdout_start, stdout_end; /* offsets of the held output */
    uint64_t stderr_start, stderr_end;
} sbx_process_info;
SBX_API size_t sbx_process_list_count(const sbx_process_list *list);
SBX_API const sbx_process_info *sbx_process_list_get(const sbx_process_list *list, size_t index); /* NULL past the end */
SBX_API void sbx_process_list_free(sbx_process_list *list); /* [last] */

/* ---------------------------------------------------------------- Bytes */

SBX_API const void *sbx_bytes_data(const sbx_bytes *bytes); /* never NULL; a NUL follows the bytes */
SBX_API size_t sbx_bytes_size(const sbx_bytes *bytes);
SBX_API void sbx_bytes_free(sbx_bytes *bytes); /* [last] */

/* ---------------------------------------------------------------- Files */

typedef enum sbx_file_type { SBX_FILE_REGULAR = 1, SBX_FILE_DIRECTORY = 2, SBX_FILE_SYMLINK = 3 } sbx_file_type;

typedef struct sbx_file_info {
    size_t size_of_struct;
    char name[256];
    sbx_file_type type; /* a node that is neither is reported as a regular file */
    uint64_t size;
    int64_t mtime_ms;
    unsigned mode; /* the low 12 bits */
    char etag[112]; /* changes whenever the file does; "" where the peer gives none, and in lists */
} sbx_file_info;
#define SBX_FILE_INFO_INIT SBX_INIT(sbx_file_info, size_of_struct)
SBX_API void sbx_file_info_free(sbx_file_info *info); /* [last] only for one that came by a completion */

typedef struct sbx_write_options {
    size_t size;
    int mode;             /* permission bits, for example 0755; 0 = keep those of an existing file, else 0600 */
    int no_parents;       /* 1 = missing parent directories are an error instead of being made */
    const char *if_match; /* write only while the file has this entity tag; NULL = whatever is there */
    int if_absent;        /* 1 = write only if there is no such file */
} sbx_write_options;
#define SBX_WRITE_OPTIONS_INIT SBX_INIT(sbx_write_options, size)

/* [any] The whole file, or `length` bytes from `offset` (length 0 = to the end). More than 1 GiB is SBX_ERROR_TOO_LARGE: use sbx_file_download. */
SBX_API sbx_status sbx_file_read(sbx_bytes **out, sbx_sandbox *sandbox, const char *path, uint64_t offset, uint64_t length,
                                 const sbx_call *call, sbx_error *err);

/* [any] Writes a whole file: others see the old one or the new one, never a part. options NULL = defaults. (The Hub's own agent, which lacks the
   feature "files", writes in place and cannot do if_match and if_absent.) In jobs more than 1 MiB travels in parts, over several connections,
   into a file ".sbx-…" beside its place; one that is left over, because this program was killed meanwhile, is nobody's. */
SBX_API sbx_status sbx_file_write(sbx_sandbox *sandbox, const char *path, const void *data, size_t len, const sbx_write_options *options,
                                  const sbx_call *call, sbx_error *err);

/* [any] The same from and to files of this computer, in pieces; the target appears whole or not at all. Default deadline: none, but a
   transfer without progress for 60 seconds fails. */
SBX_API sbx_status sbx_file_upload(sbx_sandbox *sandbox, const char *local_path, const char *path, const sbx_write_options *options,
                                   const sbx_call *call, sbx_error *err);
SBX_API sbx_status sbx_file_download(sbx_sandbox *sandbox, const char *path, const char *local_path, const sbx_call *call,
                                     sbx_error *err);

/* [any] One entry; a symbolic link is not followed. */
SBX_API sbx_status sbx_file_stat(sbx_file_info *out, sbx_sandbox *sandbox, const char *path, const sbx_call *call, sbx_error *err);

/* [any] A directory's entries, sorted bytewise by name; all of them, however many pages the peer sends. */
SBX_API sbx_status sbx_file_list_all(sbx_file_list **out, sbx_sandbox *sandbox, const char *path, const sbx_call *call, sbx_error *err);
SBX_API size_t sbx_file_list_count(const sbx_file_list *list);
SBX_API const sbx_file_info *sbx_file_list_get(const sbx_file_list *list, size_t index); /* NULL past the end */
SBX_API void sbx_file_list_free(sbx_file_list *list); /* [last] */

/* [any] replace 0: SBX_ERROR_EXISTS when there is something at `to`. */
SBX_API sbx_status sbx_file_rename(sbx_sandbox *sandbox, const char *from, const char *to, int replace, const sbx_call *call,
                                   sbx_error *err);
/* [any] recursive 0: a directory must be empty. Default deadline 10 minutes. */
SBX_API sbx_status sbx_file_delete(sbx_sandbox *sandbox, const char *path, int recursive, const sbx_call *call, sbx_error *err);
/* [any] With parents; a directory that exists is fine. */
SBX_API sbx_status sbx_file_mkdir(sbx_sandbox *sandbox, const char *path, const sbx_call *call, sbx_error *err);

#ifdef __cplusplus
}
#endif

#endif
