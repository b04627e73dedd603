#include "client/job_host.h"

#include <stdlib.h>

#include "client/client.h"
#include "client/shared.h"

bool host_dead(const struct host *host) {
    return host->agent->dead;
}

bool host_honours_keys(const struct host *host) {
    return (host->agent->endpoint.features & ENDPOINT_KEYS) != 0;
}

static void died(void *ctx) {
    struct host *host = ctx;
    host_hold(host);
    host_call_fail_all(host, &host->agent->death);
    shared_host_died(host);
    if (host->died != NULL) host->died(host->ctx);
    host_release(host);
}

struct host *host_new(struct jobs *jobs, struct sbx_sandbox *agent) {
    struct host *host = calloc(1, sizeof *host);
    if (host == NULL) {
        sandbox_release(agent);
        return NULL;
    }
    *host = (struct host){.refs = 1, .client = jobs->client, .jobs = jobs, .agent = agent};
    host->machine = agent->machine;
    agent->on_death = died;
    agent->death_ctx = host;
    return host;
}

void host_hold(struct host *host) {
    host->refs++;
}

void host_release(struct host *host) {
    if (host == NULL || --host->refs > 0) return;
    host->agent->on_death = NULL;
    sandbox_release(host->agent);
    free(host);
}
