#include "client/job_request.h"

#include <stdio.h>
#include <string.h>

#include "client/job_start.h"
#include "client/json.h"
#include "client/label.h"
#include "client/payload.h"
#include "client/volume.h"
#include "wire/names.h"

#define PAYLOAD_ARCH "x86_64" /* of every flavor that the Hub lists */

#define LIST_MAX 1000 /* items of env, secrets, labels, volumes */

#define SERVER_BUCKET "huggingface/sbx-server"
#define SERVER_MOUNT  "/.hf-sbx-server"
#define SERVER_PATH   "/buckets/" SERVER_BUCKET "/resolve/sbx-server"

/* ---- Checks */

static size_t name_of(const char *entry) {
    return strcspn(entry, "=");
}

static bool has_name(const char *const *list, const char *name, size_t len) {
    for (size_t i = 0; list != NULL && list[i] != NULL; i++) {
        if (name_of(list[i]) == len && strncmp(list[i], name, len) == 0) return true;
    }
    return false;
}

static sbx_status check_pairs(const char *const *list, const char *option, const char *function,
                              sbx_error *err) {
    for (size_t i = 0; list != NULL && list[i] != NULL; i++) {
        size_t len = name_of(list[i]);
        if (i >= LIST_MAX)
            return error_set(err, SBX_ERROR_TOO_LARGE, "%s: %s has more than %d items", function, option,
                             LIST_MAX);
        if (len == 0 || list[i][len] == '\0')
            return error_set(err, SBX_ERROR_INVALID, "%s: %s[%zu] is not of the form NAME=value", function,
                             option, i);
        if (strncmp(list[i], "SBX_", 4) == 0 || strncmp(list[i], "HFSANDBOX_AGENT_", 16) == 0)
            return error_set(
                err, SBX_ERROR_INVALID,
                "%s: %s sets %.*s: names that begin with SBX_ or HFSANDBOX_AGENT_ are the agent's own",
                function, option, (int)(len < 60 ? len : 60), list[i]);
    }
    return SBX_OK;
}

static sbx_status check_local(const sbx_sandbox_options *o, const char *function, sbx_error *err) {
    const char *odd = o->isolation != NULL                                    ? "isolation"
                      : o->network != NULL && strcmp(o->network, "host") != 0 ? "network"
                      : o->bind_count > 0                                     ? "binds"
                      : o->limit_processes != 0                               ? "limit_processes"
                      : o->limit_memory != 0                                  ? "limit_memory"
                      : o->limit_disk != 0                                    ? "limit_disk"
                      : o->limit_open_files != 0                              ? "limit_open_files"
                                                                              : NULL;
    if (odd != NULL)
        return error_set(err, SBX_ERROR_INVALID,
                         "%s: %s is an option of local sandboxes: a job is a machine of its own, chosen by "
                         "image and flavor",
                         function, odd);
    if (o->cwd != NULL)
        return error_set(err, SBX_ERROR_INVALID,
                         "%s: cwd is the image's in a job: give it with each command (sbx_command.cwd)",
                         function);
    return SBX_OK;
}

static sbx_status check_ports(const sbx_sandbox_options *o, const char *function, sbx_error *err) {
    if (o->port_count > JOB_PORTS_MAX || (o->port_count > 0 && o->ports == NULL))
        return error_set(err, SBX_ERROR_INVALID, "%s: port_count is %zu: at most %d ports can be exposed",
                         function, o->port_count, JOB_PORTS_MAX);
    for (size_t i = 0; i < o->port_count; i++) {
        if (o->ports[i] == 0 || o->ports[i] == WIRE_PORT)
            return error_set(err, SBX_ERROR_INVALID,
                             "%s: ports[%zu] is %u: 0 is no port, and %d is the agent's own", function, i,
                             o->ports[i], WIRE_PORT);
    }
    return SBX_OK;
}

static sbx_status check_lists(const sbx_sandbox_options *o, const char *function, sbx_error *err) {
    sbx_status status = check_pairs(o->env, "env", function, err);
    if (status == SBX_OK) status = check_pairs(o->secrets, "secrets", function, err);
    for (size_t i = 0; status == SBX_OK && o->secrets != NULL && o->secrets[i] != NULL; i++) {
        size_t len = name_of(o->secrets[i]);
        if (has_name(o->env, o->secrets[i], len))
            status = error_set(err, SBX_ERROR_INVALID, "%s: %.*s is in env and in secrets: give it once",
                               function, (int)len, o->secrets[i]);
    }
    if (status == SBX_OK && o->forward_hf_token &&
        (has_name(o->env, "HF_TOKEN", 8) || has_name(o->secrets, "HF_TOKEN", 8)))
        status = error_set(err, SBX_ERROR_INVALID,
                           "%s: forward_hf_token would set HF_TOKEN, which env or secrets set too", function);
    for (size_t i = 0; status == SBX_OK && o->labels != NULL && o->labels[i] != NULL; i++)
        status = i < LIST_MAX ? label_check(o->labels[i], err)
                              : error_set(err, SBX_ERROR_TOO_LARGE, "%s: labels has more than %d items",
                                          function, LIST_MAX);
    struct buf volumes = BUF_INIT(1 << 20);
    for (size_t i = 0; status == SBX_OK && o->volumes != NULL && o->volumes[i] != NULL; i++) {
        if (!volume_json(&volumes, o->volumes[i], err)) status = SBX_ERROR_INVALID;
    }
    buf_free(&volumes);
    return status;
}

static bool word(const char *text, size_t most, const char *extra) {
    size_t len = text != NULL ? strspn(text, extra) : 0;
    return len > 0 && len <= most && text[len] == '\0';
}

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

sbx_status job_request_check(const sbx_sandbox_options *o, const char *function, sbx_error *err) {
    sbx_status status = check_local(o, function, err);
    if (status == SBX_OK) status = check_ports(o, function, err);
    if (status == SBX_OK) status = check_lists(o, function, err);
    if (status != SBX_OK) return status;
    if (o->image != NULL && !word(o->image, 500, LETTERS ".:/@+~"))
        return error_set(err, SBX_ERROR_INVALID,
                         "%s: image is '%.100s': give a Docker image or hf.co/spaces/OWNER/NAME", function,
                         o->image);
    if (o->flavor != NULL && !word(o->flavor, 60, LETTERS "."))
        return error_set(err, SBX_ERROR_INVALID, "%s: flavor is '%.60s': sbx_hardware_list_all lists them",
                         function, o->flavor);
    if (o->hub_namespace != NULL && !job_name_ok(o->hub_namespace))
        return error_set(err, SBX_ERROR_INVALID,
                         "%s: hub_namespace is '%.60s': give the name of a user or an organization", function,
                         o->hub_namespace);
    if (o->client_key != NULL && !word(o->client_key, 64, LETTERS))
        return error_set(err, SBX_ERROR_INVALID,
                         "%s: client_key is '%.80s': letters, digits, - and _, at most 64", function,
                         o->client_key);
    if (o->idle_timeout_ms > (int64_t)366 * 86400000)
        return error_set(err, SBX_ERROR_INVALID,
                         "%s: idle_timeout_ms is %lld: give up to a year, or SBX_NO_TIMEOUT", function,
                         (long long)o->idle_timeout_ms);
    if (o->lifetime_ms < 0 || o->lifetime_ms > (int64_t)366 * 86400000)
        return error_set(err, SBX_ERROR_INVALID,
                         "%s: lifetime_ms is %lld: give 0 for 24 hours, or up to a year", function,
                         (long long)o->lifetime_ms);
    return SBX_OK;
}

sbx_status job_request_absent(const sbx_sandbox_options *o, const char *function, sbx_error *err) {
    const char *odd = o->image != NULL                              ? "image"
                      : o->flavor != NULL                           ? "flavor"
                      : o->secrets != NULL && o->secrets[0] != NULL ? "secrets"
                      : o->volumes != NULL && o->volumes[0] != NULL ? "volumes"
                      : o->labels != NULL && o->labels[0] != NULL   ? "labels"
                      : o->hub_namespace != NULL                    ? "hub_namespace"
                      : o->lifetime_ms != 0                         ? "lifetime_ms"
                      : o->max_cost_micro_usd != 0                  ? "max_cost_micro_usd"
                      : o->port_count > 0                           ? "ports"
                      : o->forward_hf_token                         ? "forward_hf_token"
                      : o->client_key != NULL                       ? "client_key"
                                                                    : NULL;
    if (odd == NULL) return SBX_OK;
    return error_set(err, SBX_ERROR_INVALID,
                     "%s: %s is an option of provider jobs, and this client's is local", function, odd);
}

/* ---- Writing */

static void put_member(struct buf *out, const char *name, size_t len, const char *value) {
    char last = out->len > 0 ? out->data[out->len - 1] : '{';
    if (last != '{') buf_putc(out, ',');
    json_put(out, name, len);
    buf_putc(out, ':');
    json_put_text(out, value);
}

static void put_text(struct buf *out, const char *name, const char *value) {
    put_member(out, name, strlen(name), value);
}

static void put_pairs(struct buf *out, const char *const *list) {
    for (size_t i = 0; list != NULL && list[i] != NULL; i++) {
        size_t len = name_of(list[i]);
        /* Later ones win, and an object has each name once. */
        if (!has_name(list + i + 1, list[i], len)) put_member(out, list[i], len, list[i] + len + 1);
    }
}

static void put_environment(struct buf *out, const struct job_request *r) {
    const sbx_sandbox_options *o = r->options;
    char number[24];
    buf_puts(out, ",\"environment\":{");
    put_pairs(out, o->env);
    snprintf(number, sizeof number, "%d", WIRE_PORT);
    put_text(out, ENV_PORT, number);
    int64_t idle = o->idle_timeout_ms == 0 ? JOB_IDLE_MS : o->idle_timeout_ms;
    if (idle != SBX_NO_TIMEOUT) {
        snprintf(number, sizeof number, "%lld", (long long)(idle / 1000 + (idle % 1000 != 0)));
        put_text(out, ENV_IDLE_TIMEOUT, number);
    }
    if (r->host != NULL) {
        put_text(out, ENV_HOST_MODE, "1");
        snprintf(number, sizeof number, "%u", r->host->capacity);
        put_text(out, ENV_CAPACITY, number);
        snprintf(number, sizeof number, "%u", r->host->max_hosts);
        if (r->host->max_hosts > 0) put_text(out, ENV_MAX_HOSTS, number);
    }
    if (r->hub_agent) {
        char url[600];
        snprintf(url, sizeof url, "%s" SERVER_PATH, r->hub_url);
        put_text(out, JOB_ENV_SERVER_URL, url);
        put_text(out, JOB_ENV_SERVER_MOUNT, SERVER_MOUNT);
    } else {
        const struct payload *payload = payload_find(PAYLOAD_ARCH, r->host != NULL);
        snprintf(number, sizeof number, "%zu", payload->program_size);
        put_text(out, JOB_ENV_SHA256, payload->sha256);
        put_text(out, JOB_ENV_SIZE, number);
        put_text(out, JOB_ENV_ARCH, payload->arch);
    }
    buf_putc(out, '}');
}

static void put_secrets(struct buf *out, const struct job_request *r) {
    char token[65];
    job_token(r->hub_token, r->nonce, token);
    buf_puts(out, ",\"secrets\":{");
    put_pairs(out, r->options->secrets);
    put_text(out, ENV_TOKEN, token);
    explicit_bzero(token, sizeof token);
    if (r->options->forward_hf_token) put_text(out, "HF_TOKEN", r->hub_token);
    if (!r->hub_agent) put_text(out, JOB_ENV_PAYLOAD, payload_find(PAYLOAD_ARCH, r->host != NULL)->text);
    buf_putc(out, '}');
}

static void put_labels(struct buf *out, const struct job_request *r, const char *name) {
    const sbx_sandbox_options *o = r->options;
    buf_puts(out, ",\"labels\":{");
    put_pairs(out, o->labels);
    if (!has_name(o->labels, "name", 4)) put_text(out, "name", name);
    put_text(out, JOB_LABEL, "1");
    put_text(out, JOB_LABEL_MODE, r->host != NULL ? "pool" : "dedicated");
    if (r->host != NULL) put_text(out, JOB_LABEL_POOL, r->host->pool);
    put_text(out, JOB_LABEL_NONCE, r->nonce);
    if (o->client_key != NULL) put_text(out, JOB_LABEL_KEY, o->client_key);
    buf_putc(out, '}');
}

static void put_volumes(struct buf *out, const struct job_request *r) {
    const char *const *volumes = r->options->volumes;
    bool any = volumes != NULL && volumes[0] != NULL;
    if (!any && !r->hub_agent) return;
    buf_puts(out, ",\"volumes\":[");
    for (size_t i = 0; any && volumes[i] != NULL; i++) {
        if (i > 0) buf_putc(out, ',');
        volume_json(out, volumes[i], NULL);
    }
    if (r->hub_agent)
        buf_printf(out,
                   "%s{\"type\":\"bucket\",\"source\":\"" SERVER_BUCKET "\",\"mountPath\":\"" SERVER_MOUNT
                   "\",\"readOnly\":true}",
                   any ? "," : "");
    buf_putc(out, ']');
}

sbx_status job_request_begin(struct buf *out, const struct job_request *r, sbx_error *err) {
    const sbx_sandbox_options *o = r->options;
    const char *image = o->image != NULL ? o->image : JOB_IMAGE, *space = NULL;
    const char *const command[] = {"/bin/sh", "-c", r->hub_agent ? job_start_hub_script : job_start_script,
                                   NULL};
    bool is_space = label_image_is_space(image, &space);
    char name[128];
    label_name(name, image, is_space, command);
    buf_puts(out, "{\"command\":");
    json_put_array(out, command);
    buf_puts(out, ",\"arguments\":[]");
    put_environment(out, r);
    put_secrets(out, r);
    put_labels(out, r, name);
    put_volumes(out, r);
    buf_printf(out, ",\"expose\":{\"ports\":[%d", WIRE_PORT);
    for (size_t i = 0; i < o->port_count; i++)
        buf_printf(out, ",%u", o->ports[i]);
    buf_puts(out, "]}");
    put_text(out, "flavor", o->flavor != NULL ? o->flavor : JOB_FLAVOR);
    put_text(out, is_space ? "spaceId" : "dockerImage", is_space ? space : image);
    return out->failed ? error_memory(err) : SBX_OK;
}

bool job_request_carries_agent(bool host) {
    return payload_find(PAYLOAD_ARCH, host) != NULL;
}

bool job_request_end(struct buf *out, int64_t lifetime_s) {
    return buf_printf(out, ",\"timeoutSeconds\":%lld}", (long long)lifetime_s);
}
