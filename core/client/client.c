#include "client/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/ca.h"
#include "client/provider.h"
#include "client/transport.h"
#include "util/text.h"

const char *sbx_version(void) {
    return SBX_VERSION;
}

bool client_is_ours(const struct sbx_client *client) {
    return client->pid == getpid();
}

sbx_status client_check(const struct sbx_client *client, const char *function, sbx_error *err) {
    if (client == NULL) return error_set(err, SBX_ERROR_INVALID, "%s: client is NULL", function);
    if (client_is_ours(client)) return SBX_OK;
    return error_set(
        err, SBX_ERROR_STATE,
        "%s: this handle was made by process %ld, before a fork: make a new client in this process", function,
        (long)client->pid);
}

void client_lock(struct sbx_client *client) {
    io_lock(&client->io);
}

void client_unlock(struct sbx_client *client) {
    io_unlock(&client->io);
}

static void destroy(struct sbx_client *client) {
    io_stop(&client->io);
    if (client->transport != NULL) transport_free(client->transport);
    if (client->provider != NULL) client->provider->client_free(client);
    io_destroy(&client->io);
    free(client->agent_path);
    free(client->runtime_dir);
    free(client->ca_file);
    free(client->hub_options.endpoint);
    free(client->hub_options.hub_namespace);
    free(client->hub_options.ca_file);
    if (client->hub_options.token != NULL)
        explicit_bzero(client->hub_options.token, strlen(client->hub_options.token));
    free(client->hub_options.token);
    free(client);
}

void client_hold(struct sbx_client *client) {
    atomic_fetch_add_explicit(&client->refs, 1, memory_order_relaxed);
}

static bool release(struct sbx_client *client) {
    if (atomic_fetch_sub_explicit(&client->refs, 1, memory_order_acq_rel) != 1) return false;
    destroy(client);
    return true;
}

void client_release(struct sbx_client *client) {
    release(client);
}

void client_release_locked(struct sbx_client *client) {
    atomic_fetch_sub_explicit(&client->refs, 1, memory_order_acq_rel);
}

static void hold_owner(void *owner) {
    client_hold(owner);
}

static bool let_owner_go(void *owner) {
    struct sbx_client *client = owner;
    int refs = atomic_load_explicit(&client->refs, memory_order_acquire);
    while (refs > 1) {
        if (atomic_compare_exchange_weak(&client->refs, &refs, refs - 1)) return true;
    }
    return false;
}

static bool release_owner(void *owner) {
    return release(owner);
}

void client_key(struct sbx_client *client, char out[64]) {
    snprintf(out, 64, "%s.%llu", client->key_name, (unsigned long long)++client->key_last);
}

static sbx_status copy_text(char **out, const char *text, sbx_error *err) {
    if (text == NULL) return SBX_OK;
    *out = strdup(text);
    return *out != NULL ? SBX_OK : error_memory(err);
}

static sbx_status find_provider(struct sbx_client *client, const char *asked, sbx_error *err) {
    const char *name = asked;
    if (name == NULL) name = getenv("HFSANDBOX_PROVIDER");
    if (name == NULL || *name == '\0') name = "local";
    client->provider = provider_find(name);
    if (client->provider != NULL) return SBX_OK;
    return error_set(err, SBX_ERROR_INVALID,
                     "sbx_client_new: the provider '%s'%s is unknown: use 'local' or 'jobs'", name,
                     asked == NULL ? " (from HFSANDBOX_PROVIDER)" : "");
}

sbx_status client_find_ca(struct sbx_client *client, sbx_error *err) {
    if (client->ca_known) return SBX_OK;
    sbx_status status = ca_find(&client->ca_file, client->hub_options.ca_file, transport_ca_file(), err);
    client->ca_known = status == SBX_OK;
    return status;
}

static sbx_status set_up_hub(struct sbx_client *client, const sbx_client_options *options, sbx_error *err) {
    struct client_hub *hub = &client->hub_options;
    hub->no_telemetry = options->no_telemetry != 0;
    sbx_status status = copy_text(&hub->endpoint, options->hub_endpoint, err);
    if (status == SBX_OK) status = copy_text(&hub->token, options->hub_token, err);
    if (status == SBX_OK) status = copy_text(&hub->hub_namespace, options->hub_namespace, err);
    if (status == SBX_OK) status = copy_text(&hub->ca_file, options->ca_file, err);
    /* Local sandboxes need no TLS, so what is wrong with it must not matter to them. */
    bool tls = options->ca_file != NULL || client->provider != &provider_local;
    return status == SBX_OK && tls ? client_find_ca(client, err) : status;
}

static sbx_status set_up(struct sbx_client *client, const sbx_client_options *options, sbx_error *err) {
    client->log = options->log;
    client->log_user = options->log_user;
    client->log_level = options->log_level;
    sbx_status status = copy_text(&client->agent_path, options->agent_path, err);
    if (status == SBX_OK) status = copy_text(&client->runtime_dir, options->runtime_dir, err);
    if (status == SBX_OK && !text_random_hex(8, client->key_name)) {
        status = error_set(err, SBX_ERROR_SYSTEM, "sbx_client_new: the kernel gives no random bytes");
    }
    if (status == SBX_OK) status = find_provider(client, options->provider, err);
    if (status == SBX_OK && (client->transport = transport_new(client, err)) == NULL)
        status = SBX_ERROR_MEMORY;
    if (status == SBX_OK) status = set_up_hub(client, options, err);
    if (status == SBX_OK) status = client->provider->client_new(client, err);
    /* A provider that was not set up must not be torn down. */
    if (status != SBX_OK) client->provider = NULL;
    return status;
}

sbx_status sbx_client_new(sbx_client **out, const sbx_client_options *options, sbx_error *err) {
    if (out == NULL) return error_set(err, SBX_ERROR_INVALID, "sbx_client_new: out is NULL");
    *out = NULL;
    sbx_client_options ours;
    sbx_status status = OPTIONS_COPY(&ours, options, agent_path, "sbx_client_options", err);
    if (status != SBX_OK) return status;
    if (ours.log_level < SBX_LOG_DEBUG || ours.log_level > SBX_LOG_ERROR) {
        return error_set(err, SBX_ERROR_INVALID, "sbx_client_new: log_level is %d: give one of SBX_LOG_*",
                         (int)ours.log_level);
    }
    sbx_client *client = calloc(1, sizeof *client);
    if (client == NULL) return error_memory(err);
    if (!io_init(&client->io, err)) {
        free(client);
        return SBX_ERROR_SYSTEM;
    }
    client->io.hold = hold_owner;
    client->io.let_go = let_owner_go;
    client->io.release = release_owner;
    client->io.owner = client;
    client->pid = getpid();
    atomic_init(&client->refs, 1);
    status = set_up(client, &ours, err);
    if (status != SBX_OK) {
        destroy(client);
        return status;
    }
    *out = client;
    return SBX_OK;
}

void sbx_client_free(sbx_client *client) {
    if (client == NULL || !client_is_ours(client)) return;
    client_lock(client);
    parting_wait(client);
    io_settle(&client->io);
    client_unlock(client);
    client_release(client);
}
