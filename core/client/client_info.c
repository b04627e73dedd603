#include "client/client.h"
#include "client/jobs.h"
#include "client/json.h"
#include "client/op.h"
#include "client/provider.h"
#include "client/sandbox.h"
#include "client/telemetry.h"
#include "client/transport.h"
#include "util/clock.h"
#include "wire/limits.h"

/* What a client works with. */

static void put(struct buf *out, const char *name, const char *value) {
    buf_printf(out, "%s\"%s\":", out->len > 1 ? "," : "", name);
    json_put_text(out, value);
}

static void write_own(struct buf *out, const struct sbx_client *client) {
    buf_putc(out, '{');
    put(out, "version", SBX_VERSION);
    put(out, "provider", client->provider->name);
    put(out, "curl", transport_version());
    put(out, "ca", client->ca_file != NULL ? client->ca_file : transport_ca_file());
}

static void finish(struct op *op, struct buf *out) {
    buf_putc(out, '}');
    op->out.bytes = out->failed ? NULL : sandbox_bytes(out);
    if (op->out.bytes != NULL) {
        op_done(op, SBX_OK);
    } else {
        op_fail_memory(op);
    }
}

static void asked(void *ctx, const struct hub_reply *reply) {
    struct op *op = ctx;
    struct jobs *jobs = jobs_of(op->client);
    op->ctx = NULL;
    if (reply->status != SBX_OK) {
        op_fail(op, &reply->error);
        return;
    }
    struct buf out = BUF_INIT(MIB(1));
    struct json *who = json_parse(reply->body->data, reply->body->len);
    const char *user = json_string(who, "name");
    write_own(&out, op->client);
    buf_puts(&out, telemetry_wanted(op->client) ? ",\"telemetry\":true" : ",\"telemetry\":false");
    put(&out, "endpoint", jobs->hub.endpoint.url);
    put(&out, "token_source", jobs->hub.token_source);
    put(&out, "user", user);
    put(&out, "namespace", jobs->hub_namespace != NULL ? jobs->hub_namespace : user);
    buf_puts(&out, ",\"organizations\":[");
    bool first = true;
    for (const struct json *item = json_first(json_get(who, "orgs")); item != NULL; item = json_next(item)) {
        const char *name = json_string(item, "name");
        if (name == NULL) continue;
        if (!first) buf_putc(&out, ',');
        json_put_text(&out, name);
        first = false;
    }
    buf_putc(&out, ']');
    json_free(who);
    finish(op, &out);
    buf_free(&out);
}

sbx_status sbx_client_info(sbx_bytes **out, sbx_client *client, const sbx_call *call, sbx_error *err) {
    const char *name = "sbx_client_info";
    if (out != NULL) *out = NULL;
    sbx_status status = client_check(client, name, err);
    if (status != SBX_OK) return status;
    status = op_check_out(out, call, name, err);
    if (status != SBX_OK) return status;
    struct op *op;
    status = op_begin(&op, client, NULL, name, call, 60000, err);
    if (status != SBX_OK) return status;
    if (client->provider == &provider_jobs) {
        jobs_ask(op, "whoami-v2", "asking who the token belongs to", asked);
    } else {
        struct buf text = BUF_INIT(MIB(1));
        write_own(&text, client);
        buf_puts(&text, ",\"telemetry\":false");
        finish(op, &text);
        buf_free(&text);
    }
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status == SBX_OK) *out = done.bytes;
    return status;
}
