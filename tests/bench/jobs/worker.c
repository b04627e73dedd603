/* bench-jobs: a program that uses the library, as jobs.py tells it on standard input, a line each:
     create IMAGE | kill | exec COUNT | write SIZE COUNT | read SIZE COUNT
   It answers each with one line of JSON: when a sandbox was ready, or the seconds that each call took and the
   processor seconds of them all. Its peer, which does the same with huggingface_hub, is peer.py. */
#include <hfsandbox/hfsandbox.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MOST 1000

static sbx_error err;
static sbx_client *client;
static sbx_sandbox *sandbox;

static void need(sbx_status status, const char *what) {
    if (status == SBX_OK) return;
    fprintf(stderr, "bench-jobs: %s: %s: %s\n", what, sbx_status_name(status), err.message);
    exit(2);
}

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void create(const char *image) {
    sbx_sandbox_options options = {SBX_SANDBOX_OPTIONS_INIT, .image = image};
    need(sbx_sandbox_create(&sandbox, client, &options, NULL, &err), "create");
    printf("{\"id\": \"%s\", \"ready\": %.6f}\n", sbx_sandbox_id(sandbox), now(CLOCK_REALTIME));
}

static void end(void) {
    need(sbx_sandbox_kill(sandbox, NULL, &err), "kill");
    sbx_sandbox_free(sandbox);
    sandbox = NULL;
    puts("{}");
}

static void run_true(void) {
    const sbx_command command = {SBX_COMMAND_INIT, .argv = (const char *const[]){"true", NULL}};
    sbx_result *result;
    need(sbx_run(&result, sandbox, &command, NULL, &err), "run");
    if (sbx_result_exit_code(result) != 0) need(SBX_ERROR_INTERNAL, "true has failed");
    sbx_result_free(result);
}

static void write_file(const char *data, size_t size) {
    need(sbx_file_write(sandbox, "/tmp/bench", data, size, NULL, NULL, &err), "write");
}

static void read_file(const char *data, size_t size) {
    sbx_bytes *bytes;
    need(sbx_file_read(&bytes, sandbox, "/tmp/bench", 0, 0, NULL, &err), "read");
    if (sbx_bytes_size(bytes) != size || memcmp(sbx_bytes_data(bytes), data, size) != 0)
        need(SBX_ERROR_INTERNAL, "other bytes were read than written");
    sbx_bytes_free(bytes);
}

static void measure(char verb, size_t size, int count) {
    static double took[MOST];
    char *data = malloc(size + 1);
    if (data == NULL || count > MOST) need(SBX_ERROR_MEMORY, "measure");
    for (size_t i = 0; i < size; i++)
        data[i] = (char)(i * 2654435761u >> 13 & 127);
    double cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < count; i++) {
        double start = now(CLOCK_MONOTONIC);
        if (verb == 'e') run_true();
        if (verb == 'w') write_file(data, size);
        if (verb == 'r') read_file(data, size);
        took[i] = now(CLOCK_MONOTONIC) - start;
    }
    cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("{\"cpu\": %.6f, \"took\": [", cpu);
    for (int i = 0; i < count; i++)
        printf("%s%.6f", i > 0 ? ", " : "", took[i]);
    puts("]}");
    free(data);
}

int main(void) {
    char line[512], word[16], image[256];
    size_t size;
    int count;
    sbx_client_options options = {SBX_CLIENT_OPTIONS_INIT, .provider = "jobs"};
    need(sbx_client_new(&client, &options, &err), "client");
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (sscanf(line, "create %255s", image) == 1) {
            create(image);
        } else if (strcmp(line, "kill\n") == 0) {
            end();
        } else if (sscanf(line, "exec %d", &count) == 1) {
            measure('e', 0, count);
        } else if (sscanf(line, "%15s %zu %d", word, &size, &count) == 3) {
            measure(word[0], size, count);
        } else {
            need(SBX_ERROR_INVALID, line);
        }
        fflush(stdout);
    }
    sbx_client_free(client);
    return 0;
}
