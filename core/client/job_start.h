/* How the agent starts in a job: its command is {"/bin/sh", "-c", job_start_script}. The script decodes the
   payload, checks it, finds a place from which programs can be run, and becomes the agent; none of its
   variables reach the agent's environment. The agent reads its settings (wire/names.h: ENV_PORT,
   ENV_TOKEN...) from the job's environment and removes its file. */
#ifndef CLIENT_JOB_START_H
#define CLIENT_JOB_START_H

extern const char job_start_script[];

/* Where that cannot be had: starts the agent that the Hub publishes, by download, else from its mounted
   bucket. */
extern const char job_start_hub_script[];

#define JOB_ENV_SERVER_URL   "SBX_SERVER_URL"
#define JOB_ENV_SERVER_MOUNT "SBX_SERVER_MOUNT"

/* What it needs in the job's environment; the first fits into a secret only. All from struct payload. */
#define JOB_ENV_PAYLOAD "HFSANDBOX_AGENT_PAYLOAD" /* text */
#define JOB_ENV_SHA256  "HFSANDBOX_AGENT_SHA256"  /* sha256 */
#define JOB_ENV_SIZE    "HFSANDBOX_AGENT_SIZE"    /* program_size, decimal */
#define JOB_ENV_ARCH    "HFSANDBOX_AGENT_ARCH"    /* arch */

/* Its exit codes, each after one line on standard error that begins with "hfsandbox: ". */
enum job_start_exit {
    JOB_START_INCOMPLETE = 80, /* one of the variables is missing */
    JOB_START_NO_TOOL,         /* the image has nothing to decode with */
    JOB_START_DAMAGED,         /* what was decoded is not the program, or there was no space for it */
    JOB_START_NO_PLACE,        /* no directory that can be written and runs programs */
    JOB_START_OTHER_MACHINE,   /* another architecture */
};

#endif
