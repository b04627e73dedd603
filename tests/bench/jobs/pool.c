/* bench-pool: many sandboxes of one pool at once, from one thread through the asynchronous calls, as pool.py
   tells it on standard input, a line each: warm IMAGE SANDBOXES HOSTS | create | exec | kill | end It answers
   each with the seconds that it took, by the clock and of this process's processors, as one line of JSON.
   pool_peer.py does the same with huggingface_hub. */
#include <hfsandbox/hfsandbox.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MOST       100000
#define PATIENT_MS 600000

static sbx_error err;
static sbx_client *client;
static sbx_queue *queue;
static sbx_pool *pool;
static sbx_sandbox *boxes[MOST];
static size_t count;

static void need(sbx_status status, const char *what) {
    if (status >= SBX_OK) return;
    fprintf(stderr, "bench-pool: %s: %s: %s\n", what, sbx_status_name(status), err.message);
    exit(2);
}

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void warm(const char *image, unsigned hosts) {
    sbx_pool_options options = {SBX_POOL_OPTIONS_INIT, .image = image, .warm = (int)hosts, .max_hosts = hosts,
                                .sandboxes_per_host = (unsigned)((count + hosts - 1) / hosts)};
    need(sbx_pool_create(&pool, client, &options, NULL, &err), "warm");
}

static void begin(char verb, size_t i) {
    const sbx_command command = {SBX_COMMAND_INIT, .argv = (const char *const[]){"true", NULL}};
    sbx_call call = {SBX_CALL_INIT, .timeout_ms = PATIENT_MS, .queue = queue, .user = &boxes[i]};
    if (verb == 'c') need(sbx_pool_sandbox(NULL, pool, NULL, &call, &err), "create");
    if (verb == 'e') need(sbx_run(NULL, boxes[i], &command, &call, &err), "exec");
    if (verb == 'k') need(sbx_sandbox_kill(boxes[i], &call, &err), "kill");
}

static void all(char verb) {
    for (size_t i = 0; i < count; i++)
        begin(verb, i);
    for (size_t i = 0; i < count; i++) {
        sbx_completion done = {SBX_COMPLETION_INIT};
        need(sbx_queue_next(&done, queue, PATIENT_MS, &err) == SBX_OK ? SBX_OK : SBX_ERROR_TIMEOUT, "next");
        err = done.error;
        need(done.status, "call");
        sbx_sandbox **box = done.user;
        if (verb == 'c') *box = done.sandbox;
        if (verb == 'e' && sbx_result_exit_code(done.result) != 0)
            need(SBX_ERROR_INTERNAL, "true has failed");
        if (verb == 'e') sbx_result_free(done.result);
        if (verb == 'k') sbx_sandbox_free(*box);
    }
}

int main(void) {
    char line[512], image[256];
    unsigned hosts;
    sbx_client_options options = {SBX_CLIENT_OPTIONS_INIT, .provider = "jobs"};
    need(sbx_client_new(&client, &options, &err), "client");
    need(sbx_queue_new(&queue, client, &err), "queue");
    while (fgets(line, sizeof line, stdin) != NULL) {
        double begun = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);
        if (sscanf(line, "warm %255s %zu %u", image, &count, &hosts) == 3 && count <= MOST && hosts > 0) {
            warm(image, hosts);
        } else if (strcmp(line, "end\n") == 0) {
            sbx_pool_free(pool);
        } else {
            all(line[0]);
        }
        printf("{\"wall\": %.6f, \"cpu\": %.6f}\n", now(CLOCK_MONOTONIC) - begun,
               now(CLOCK_PROCESS_CPUTIME_ID) - cpu);
        fflush(stdout);
    }
    sbx_queue_free(queue);
    sbx_client_free(client);
    return 0;
}
