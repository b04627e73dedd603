/* The names that client and agent both say: headers, environment variables, features. */
#ifndef WIRE_NAMES_H
#define WIRE_NAMES_H

#define WIRE_PROTOCOL       3 /* the generation of the Hub's own sandbox clients; README.md beside this file says what is added */

#define WIRE_PORT           49983

#define HEADER_TOKEN        "X-Sandbox-Token"
#define HEADER_KEY          "X-Sandbox-Key"  /* "<name>.<number>", see README.md beside this file */
#define HEADER_CODE         "X-Sandbox-Code" /* on errors: a wire_code name */

#define ENV_PORT            "SBX_PORT"
#define ENV_TOKEN           "SBX_TOKEN"
#define ENV_IDLE_TIMEOUT    "SBX_IDLE_TIMEOUT"
#define ENV_CAPACITY        "SBX_CAPACITY"
#define ENV_HOST_MODE       "SBX_HOST_MODE"
#define ENV_COMPAT_TOKEN    "SBX_COMPAT_HOST_TOKEN" /* host mode: 0 = the host's token does not open its sandboxes */
#define ENV_MIN_LANDLOCK    "SBX_MIN_LANDLOCK_ABI"
#define ENV_HOST_DIRECTORY  "SBX_HOST_DIRECTORY" /* where homes are */
#define ENV_HOST_UIDS       "SBX_HOST_FIRST_UID" /* the first of the users that sandboxes get */
#define ENV_MAX_HOSTS       "SBX_MAX_HOSTS" /* of a pool: for who connects to it; the agent has no use for it */
#define ENV_HOST_LAST_UID   "SBX_HOST_LAST_UID"
#define ENV_MAX_CONNECTIONS "SBX_MAX_CONNECTIONS"
#define ENV_STREAM_LIMIT    "SBX_STREAM_LIMIT" /* this and the next two: bytes of held output */
#define ENV_SANDBOX_LIMIT   "SBX_SANDBOX_OUTPUT_LIMIT"
#define ENV_AGENT_LIMIT     "SBX_AGENT_OUTPUT_LIMIT"
#define ENV_FILE            "HFSANDBOX_AGENT_FILE" /* the agent's own program, which it removes at its start */

/* The items of the array "features" of /health: what this agent adds to the Hub's protocol. */
#define FEATURE_KEYS        "keys"     /* HEADER_KEY is honoured on exec and processes */
#define FEATURE_FRAMES      "frames"   /* FRAME_TYPE is spoken */
#define FEATURE_PROCESS     "process"  /* processes/{id}, its output, stdin, signal and wait */
#define FEATURE_FILES       "files"    /* atomic writes, rename, entity tags */
#define FEATURE_PARTS       "parts"    /* a whole file written in parts, over several connections */

/* Descriptors that a local agent inherits. It closes all above LOCAL_FD_CLIENT at its start: a host program may have forgotten to
   mark its own close-on-exec. */
#define LOCAL_FD_CONFIG     3 /* the JSON configuration, to its end */
#define LOCAL_FD_ENDPOINT   4 /* attached: a control socket on which connected sockets arrive; absent when detached (the agent makes
                                 the listening socket LOCAL_SOCKET in its directory) */
#define LOCAL_FD_STATUS     5 /* written once: one line of JSON, ready or error */
#define LOCAL_FD_CLIENT     6 /* a pidfd of the client; when detached it counts only until LOCAL_RECORD stands in the directory */

/* In the directory of a detached sandbox. */
#define LOCAL_SOCKET        "sock"
#define LOCAL_RECORD        "record.json" /* written by the client, by rename: its creation is then complete */
#define LOCAL_HOME          "home"        /* level landlock and none: the only part that commands may write */

#endif
