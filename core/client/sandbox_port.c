#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/jobs.h"
#include "client/provider.h"
#include "client/sandbox.h"
#include "util/buf.h"
#include "wire/limits.h"

/* Where a sandbox's own servers are reached, and how long making it took. */

sbx_status sbx_sandbox_timings(sbx_timings *out, const sbx_sandbox *sandbox, sbx_error *err) {
    const char *name = "sbx_sandbox_timings";
    sbx_status status = sandbox_check(sandbox, name, err);
    if (status != SBX_OK) return status;
    if (out == NULL) return error_set(err, SBX_ERROR_INVALID, "%s: out is NULL", name);
    sbx_timings ours;
    status = OPTIONS_COPY(&ours, out, answered_ms, "sbx_timings", err);
    if (status != SBX_OK) return status;
    out->accepted_ms = sandbox->timings.accepted_ms;
    out->running_ms = sandbox->timings.running_ms;
    out->answered_ms = sandbox->timings.answered_ms;
    return SBX_OK;
}

/* The address of the port itself; NULL = it is reached through the agent. */
static const char *own_url(const struct sbx_sandbox *sandbox, uint16_t port) {
    const struct job_machine *m = sandbox->provider == &provider_jobs ? sandbox->machine : NULL;
    for (size_t i = 0; m != NULL && i < m->port_count; i++) {
        if (m->ports[i] == port) return m->port_urls[i];
    }
    return NULL;
}

static sbx_status check(sbx_bytes **out, const sbx_sandbox *sandbox, uint16_t port, const char *name,
                        sbx_error *err) {
    if (out != NULL) *out = NULL;
    sbx_status status = sandbox_check(sandbox, name, err);
    if (status != SBX_OK) return status;
    if (out == NULL) return error_set(err, SBX_ERROR_INVALID, "%s: out is NULL", name);
    if (port == 0) return error_set(err, SBX_ERROR_INVALID, "%s: port is 0: give 1 to 65535", name);
    if (sandbox->endpoint.kind != ENDPOINT_URL)
        return error_set(
            err, SBX_ERROR_UNSUPPORTED,
            "%s: a local sandbox has no address: with network host its ports are this computer's", name);
    return SBX_OK;
}

static sbx_status give(sbx_bytes **out, struct buf *text, sbx_error *err) {
    *out = text->failed ? NULL : sandbox_bytes(text);
    buf_free(text);
    return *out != NULL ? SBX_OK : error_memory(err);
}

sbx_status sbx_sandbox_port_url(sbx_bytes **out, sbx_sandbox *sandbox, uint16_t port, sbx_error *err) {
    sbx_status status = check(out, sandbox, port, "sbx_sandbox_port_url", err);
    if (status != SBX_OK) return status;
    struct buf text = BUF_INIT(KIB(16));
    const char *own = own_url(sandbox, port);
    if (own != NULL) {
        buf_puts(&text, own);
    } else {
        buf_printf(&text, "%s%sproxy/%u", sandbox->endpoint.url, endpoint_prefix(&sandbox->endpoint),
                   (unsigned)port);
    }
    return give(out, &text, err);
}

sbx_status sbx_sandbox_port_headers(sbx_bytes **out, sbx_sandbox *sandbox, uint16_t port, sbx_error *err) {
    sbx_status status = check(out, sandbox, port, "sbx_sandbox_port_headers", err);
    if (status != SBX_OK) return status;
    struct buf text = BUF_INIT(KIB(256));
    const struct endpoint *endpoint = &sandbox->endpoint;
    if (endpoint->bearer_header != NULL) buf_printf(&text, "%s\r\n", endpoint->bearer_header);
    /* The token is the agent's: a server of the sandbox's own must not see it. */
    if (own_url(sandbox, port) == NULL && endpoint->token_header != NULL)
        buf_printf(&text, "%s\r\n", endpoint->token_header);
    buf_puts(&text, "");
    return give(out, &text, err);
}
