#include "client/telemetry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/jobs.h"
#include "client/parting.h"
#include "client/settings.h"
#include "client/transfer.h"
#include "util/clock.h"

#define SILENCE_MS 3000
#define LIMIT_MS   10000
#define UNDER_WAY  32 /* more are left out */

struct telling {
    struct sbx_client *client; /* held by io_background */
    struct endpoint endpoint;  /* the Hub's, without the token */
    struct transfer *transfer;
    struct io_timer timer;
};

static void told(void *ctx, const struct transfer_end *end) {
    struct telling *t = ctx;
    struct sbx_client *client = t->client;
    (void)end;
    io_timer_clear(&client->io, &t->timer);
    endpoint_free(&t->endpoint);
    free(t);
    parting_end(client, PARTING_NEWS);
    client_release_locked(client);
}

static void too_slow(void *ctx) {
    struct telling *t = ctx;
    transfer_cancel(t->transfer);
    told(t, NULL);
}

bool telemetry_wanted(const struct sbx_client *client) {
    return !client->hub_options.no_telemetry && settings_telemetry();
}

static void tell(struct sbx_client *client, const char *target, const char *fields) {
    if (!telemetry_wanted(client) || client->parting[PARTING_NEWS] >= UNDER_WAY) return;
    struct telling *t = calloc(1, sizeof *t);
    if (t == NULL) return;
    t->client = client;
    char agent[512];
    snprintf(agent, sizeof agent, "User-Agent: hfsandbox/" SBX_VERSION "; %s", fields);
    for (char *c = agent; *c != '\0'; c++) {
        if (*c < ' ' || *c > '~') *c = '?';
    }
    const char *url = jobs_of(client)->hub.endpoint.url;
    if (endpoint_make(&t->endpoint, ENDPOINT_URL, url, NULL, -1, NULL, 0, NULL) != SBX_OK ||
        !parting_begin(client, PARTING_NEWS)) {
        endpoint_free(&t->endpoint);
        free(t);
        return;
    }
    client_hold(client);
    const struct transfer_spec spec = {.endpoint = &t->endpoint,
                                       .method = "HEAD",
                                       .event = "hub.request",
                                       .log_route = "telemetry",
                                       .target = target,
                                       .headers = {agent},
                                       .silence_ms = SILENCE_MS,
                                       .on_end = told,
                                       .ctx = t};
    t->timer = (struct io_timer){.fire = too_slow, .ctx = t};
    if (!io_timer_set(&client->io, &t->timer, clock_ms() + LIMIT_MS) ||
        (t->transfer = transfer_start(client, &spec, NULL)) == NULL)
        told(t, NULL);
}

void telemetry_create(struct sbx_client *client, const char *session, const char *flavor, int64_t lifetime_s,
                      bool forward_hf_token) {
    char fields[256];
    snprintf(fields, sizeof fields, "session_id/%s; flavor/%.40s; timeout/%llds; forward_hf_token/%s",
             session, flavor, (long long)lifetime_s, forward_hf_token ? "True" : "False");
    tell(client, "/api/telemetry/hfsandbox/create", fields);
}

void telemetry_terminate(struct sbx_client *client, const char *session, int64_t duration_ms,
                         const char *reason) {
    char fields[256];
    snprintf(fields, sizeof fields, "session_id/%s; duration_s/%lld; reason/%s", session,
             (long long)duration_ms / 1000, reason);
    tell(client, "/api/telemetry/hfsandbox/terminate", fields);
}
