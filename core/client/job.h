/* A Job as the Hub describes it. */
#ifndef CLIENT_JOB_H
#define CLIENT_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "client/error.h"
#include "client/label.h"

struct json;

#define JOB_ID_SIZE    64
#define JOB_NAME_SIZE  100 /* of a user or an organization */
#define JOB_NONCE_SIZE 65

/* Labels, as the Hub's own client writes and reads them. */
#define JOB_LABEL       "hf-sandbox"
#define JOB_LABEL_MODE  "hf-sandbox-mode"
#define JOB_LABEL_NONCE "hf-sandbox-nonce"
#define JOB_LABEL_POOL  "hf-sandbox-pool"
#define JOB_LABEL_KEY   "hf-sandbox-key" /* ours: of the option client_key */

/* The query for those that have not ended. */
#define JOB_LIVING "stage=RUNNING&stage=SCHEDULING&stage=UPDATING"

enum job_phase { JOB_WAITS, JOB_RUNS, JOB_ENDED };

struct job {
    char id[JOB_ID_SIZE];
    char owner[JOB_NAME_SIZE];
    char stage[24];
    enum job_phase phase;
    char message[256];
    char nonce[JOB_NONCE_SIZE];    /* "" = the label is missing */
    char key[LABEL_MAX + 1];       /* of JOB_LABEL_KEY */
    char pool_name[LABEL_MAX + 1]; /* of JOB_LABEL_POOL */
    char initiator[JOB_NAME_SIZE]; /* the name of who made it; "" = not said */
    bool sandbox, pool;            /* by its labels */
    char image[512], flavor[64];
    int64_t created_ms, started_ms; /* since 1970; 0 = not said */
};

/* False: this is no job. Ids that could not be parts of a path or of a host name count as none. */
bool job_parse(struct job *out, const struct json *value);

/* Whether a job has a label "key=value". */
bool job_has_label(const struct json *value, const char *label);

/* The base URL of one of its ports among its exposeUrls, without a slash at its end, or NULL. It will get the
   Hub token, so only an address is taken that belongs to the job: https (http where the Hub itself is reached
   so), and a host that begins with "<id>--<port>.", in hf.jobs where the Hub is huggingface.co; or, by plain
   HTTP, a path of the Hub's own host. *foreign says that there was another one. The caller's. */
char *job_port_url(const struct json *value, const char *id, unsigned port, const char *hub_url,
                   bool *foreign);

/* Whether such a URL, from elsewhere, is one of those. */
bool job_url_ok(const char *url, const char *id, unsigned port, const char *hub_url);
bool job_id_ok(const char *id);

/* "2026-08-20T09:15:02.114Z" as milliseconds since 1970; 0 when it is none. */
int64_t job_time(const char *text);

/* The token of the sandbox in that job, which the Hub token and the nonce give. */
void job_token(const char *hub_token, const char *nonce, char out[65]);

/* [NAMESPACE/]ID in its parts; namespace "" when it is not said. */
sbx_status job_split_id(const char *text, char hub_namespace[JOB_NAME_SIZE], char id[JOB_ID_SIZE],
                        sbx_error *err);
bool job_name_ok(const char *name); /* of a user or an organization */

#endif
