/* What a job runs: a script that fetches the agent and becomes it. */
#ifndef CLIENT_JOB_START_H
#define CLIENT_JOB_START_H

const char *job_start_payload(void); /* ours, out of the job's own secret */
const char *
job_start_hub(void); /* the one that the Hub publishes: by download, else from its mounted bucket */

#endif
