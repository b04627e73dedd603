#include "client/transfer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/log.h"
#include "client/transfer_step.h"
#include "util/clock.h"
#include "util/testing.h"

#define ABANDONED_MS 2000
#define SLOW_BODY    65536
#define UNTRUSTED                                                                                            \
    ". If the address is right, name the certificates to trust by the option ca_file, CURL_CA_BUNDLE or "    \
    "SSL_CERT_FILE"

/* ---- Ends */

/* Out of libcurl and out of every list; the memory remains. */
static void detach(struct transfer *t) {
    struct transport *transport = t->transport;
    io_timer_clear(&transport->client->io, &t->silence);
    transport_drop(t);
    if (t->prev != NULL) {
        t->prev->next = t->next;
    } else {
        transport->transfers = t->next;
    }
    if (t->next != NULL) t->next->prev = t->prev;
    free(t->owned);
}

/* An agent behind the Hub's proxy did not write this answer: the request came to nothing, or nobody knows.
   Our agent's errors are marked; of other agents only what they never say is known. */
static bool proxy_failed(const struct transfer *t) {
    const struct endpoint *endpoint = t->spec.endpoint;
    if (endpoint->trouble == NULL || t->head.coded) return false;
    switch (t->head.status) {
    case 502:
    case 504:
        return true;
    case 404:
    case 410:
    case 429:
    case 500:
    case 503:
        return endpoint->features != 0;
    default:
        return false;
    }
}

static void explain(const struct transfer *t, const struct transport_result *result,
                    struct transfer_end *end) {
    const char *where = endpoint_where(t->spec.endpoint);
    if (result->ok && t->head_done && proxy_failed(t)) {
        end->outcome = TRANSFER_LOST;
        error_set(&end->error, SBX_ERROR_CONNECTION, "%s cannot be reached: the Hub's proxy answered %d",
                  where, t->head.status);
        end->error.http_status = t->head.status;
    } else if (result->ok && t->head_done) {
        end->outcome = TRANSFER_OK;
    } else if (result->ok) {
        /* libcurl takes a head that ends with the connection for complete. */
        end->outcome = TRANSFER_LOST;
        error_set(&end->error, SBX_ERROR_CONNECTION,
                  "the connection to %s was lost: the response has no end of head", where);
    } else if (t->silent) {
        end->outcome = TRANSFER_SILENT;
        error_set(&end->error, SBX_ERROR_CONNECTION, "%s has sent nothing for %lld ms", where,
                  (long long)t->spec.silence_ms);
    } else if (t->stopped) {
        end->outcome = TRANSFER_STOPPED;
        error_set(&end->error, SBX_ERROR_CANCELED, "stopped");
    } else if (!result->connected) {
        end->outcome = TRANSFER_NOT_SENT;
        /* libcurl speaks of the URL, which a local endpoint has for form's sake only. */
        bool local = endpoint_is_local(t->spec.endpoint) && result->system_errno != 0;
        char text[128];
        error_set(&end->error, result->status, "%s cannot be reached: %s%s", where,
                  local ? strerror_r(result->system_errno, text, sizeof text) : result->reason,
                  result->untrusted ? UNTRUSTED : "");
    } else {
        end->outcome = TRANSFER_LOST;
        error_set(&end->error, result->status, "the connection to %s was lost: %s", where, result->reason);
    }
    end->error.system_errno = result->system_errno;
    end->untrusted = result->untrusted && end->outcome == TRANSFER_NOT_SENT;
}

static void log_end(const struct transfer *t, enum transfer_outcome outcome) {
    static const char *const outcomes[] = {"ok", "not_sent", "lost", "silent", "stopped"};
    struct sbx_client *client = t->transport->client;
    if (client->log == NULL) return;
    char status[16], took[32];
    snprintf(status, sizeof status, "%d", t->head.status);
    snprintf(took, sizeof took, "%.3f", (double)(clock_us() - t->started_us) / 1000);
    const char *event = t->spec.event != NULL ? t->spec.event : "request";
    log_event(client, outcome == TRANSFER_OK ? SBX_LOG_DEBUG : SBX_LOG_INFO, event, "method", t->spec.method,
              "route", t->spec.log_route, "outcome", outcomes[outcome], "status", status, "ms", took, NULL);
}

static void finish(struct transfer *t, const struct transport_result *result) {
    struct transfer_end end = {.head = &t->head};
    explain(t, result, &end);
    log_end(t, end.outcome);
    detach(t);
    struct endpoint *endpoint = t->spec.endpoint;
    if (end.outcome != TRANSFER_OK && end.outcome != TRANSFER_STOPPED && endpoint->trouble != NULL)
        endpoint->trouble(endpoint->trouble_ctx);
    t->spec.on_end(t->spec.ctx, &end);
    free(t);
}

static void silence_fired(void *ctx) {
    struct transfer *t = ctx;
    int64_t now = clock_ms();
    bool large = t->spec.body_len > SLOW_BODY; /* a smaller one has left at once */
    if (large && transport_has_sent(t) && !testing_off("sent-counts")) t->heard_ms = now;
    int64_t limit = (t->paused ? now : t->heard_ms) + t->spec.silence_ms;
    if (limit > now) {
        io_timer_set(&t->transport->client->io, &t->silence,
                     limit); /* it has just left a place: cannot fail */
        return;
    }
    t->silent = true;
    finish(t, &(struct transport_result){.ok = false});
}

/* ---- What could not be done while libcurl was on the stack */

static void run_deferred(struct transport *transport) {
    transport->again = false;
    for (struct transfer *t = transport->transfers, *next; t != NULL; t = next) {
        next = t->next;
        if (t->canceled) {
            detach(t);
            free(t);
        } else if (!t->added) {
            if (transport_add(t)) continue;
            transport->again = true; /* its on_end may have changed the list */
            finish(t, &(struct transport_result){.status = SBX_ERROR_MEMORY, .reason = "out of memory"});
            return;
        } else if (t->resume) {
            t->resume = t->paused = false;
            t->heard_ms = clock_ms();
            transport_unpause(t);
        }
    }
}

static void reap_finished(struct transport *transport) {
    struct transport_result result;
    struct transfer *t;
    while ((t = transport_finished(transport, &result)) != NULL) {
        if (t->canceled) {
            detach(t);
            free(t);
        } else {
            finish(t, &result);
        }
    }
}

/* New connections to attached agents. */
static void hand_over(struct transport *transport) {
    char name[HANDOVER_NAME];
    int fd;
    while ((fd = handover_accept(&transport->handover, name)) >= 0) {
        struct transfer *t = transport->transfers;
        while (t != NULL && (t->handover[0] == '\0' || memcmp(t->handover, name, sizeof name) != 0))
            t = t->next;
        handover_pass(t != NULL ? t->spec.endpoint->control_fd : -1, fd);
        if (t != NULL) t->handover[0] = '\0';
    }
    transport->connecting = false;
    for (struct transfer *t = transport->transfers; t != NULL && !transport->connecting; t = t->next)
        transport->connecting = t->handover[0] != '\0';
}

void transfer_step_settle(void *ctx) {
    struct transport *transport = ctx;
    if (transport->connecting) hand_over(transport);
    reap_finished(transport);
    while (transport->again) {
        run_deferred(transport);
        reap_finished(transport);
    }
}

static void defer(struct transport *transport) {
    transport->again = true;
    /* When libcurl is on the stack, settling comes after it anyway. */
    if (!transport->inside) io_timer_set(&transport->client->io, &transport->kick, clock_ms());
}

/* ---- For the rest of the client */

struct transfer *transfer_start(struct sbx_client *client, const struct transfer_spec *spec, sbx_error *err) {
    struct transport *transport = client->transport;
    struct transfer *t = calloc(1, sizeof *t);
    if (t == NULL) {
        error_memory(err);
        return NULL;
    }
    t->transport = transport;
    t->spec = *spec;
    t->spec.target = NULL;
    memset(t->spec.headers, 0, sizeof t->spec.headers);
    t->started_us = clock_us();
    t->heard_ms = t->started_us / 1000;
    t->silence = (struct io_timer){.fire = silence_fired, .ctx = t};
    t->next = transport->transfers;
    if (t->next != NULL) t->next->prev = t;
    transport->transfers = t;
    bool ok = transport_prepare(t, spec);
    if (ok && spec->silence_ms > 0) {
        ok = io_timer_set(&client->io, &t->silence, t->heard_ms + spec->silence_ms);
    }
    if (ok && transport->inside) {
        defer(transport);
    } else if (ok) {
        ok = transport_add(t);
    }
    if (ok) return t;
    detach(t);
    free(t);
    error_memory(err);
    return NULL;
}

void transfer_cancel(struct transfer *t) {
    if (t->transport->inside) {
        t->canceled = true;
        defer(t->transport);
    } else {
        detach(t);
        free(t);
    }
}

void transfer_resume(struct transfer *t) {
    if (!t->paused || t->resume) return;
    t->resume = true;
    defer(t->transport);
}

static void ignore_end(void *ctx, const struct transfer_end *end) {
    (void)ctx;
    (void)end;
}

void transfer_abandon(struct transfer *t, void *body) {
    t->owned = body;
    t->spec.on_header = NULL;
    t->spec.on_head = NULL;
    t->spec.on_data = NULL;
    t->spec.on_end = ignore_end;
    t->spec.silence_ms = ABANDONED_MS;
    transfer_resume(t);
    if (!io_timer_set(&t->transport->client->io, &t->silence, clock_ms() + ABANDONED_MS)) transfer_cancel(t);
}

void transfer_cancel_abandoned(struct sbx_client *client, const struct endpoint *endpoint) {
    for (struct transfer *t = client->transport->transfers, *next; t != NULL; t = next) {
        next = t->next;
        if (t->spec.endpoint == endpoint && t->spec.on_end == ignore_end && !t->canceled) transfer_cancel(t);
    }
}
