#include "client/provider_local.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/agent_path.h"
#include "client/client.h"
#include "client/json.h"
#include "client/local_config.h"
#include "client/local_end.h"
#include "client/local_list.h"
#include "client/log.h"
#include "client/machine.h"
#include "client/provider.h"
#include "client/record.h"
#include "client/request.h"
#include "util/clock.h"
#include "util/scope.h"
#include "util/text.h"
#include "wire/limits.h"

#define INTERVAL_LOCK 10 /* between two looks at the lock of a keeper that cannot be seen */

static sbx_status client_new(struct sbx_client *client, sbx_error *err) {
    machine_orphan(-1);
    const char *why_not = record_runtime_ignored(client->runtime_dir);
    if (why_not != NULL) {
        log_event(client, SBX_LOG_WARNING, "runtime_dir.ignored", "variable", "XDG_RUNTIME_DIR", "reason",
                  why_not, NULL);
    }
    client->provider_data = calloc(1, sizeof(struct machines));
    return client->provider_data != NULL ? SBX_OK : error_memory(err);
}

static void client_free(struct sbx_client *client) {
    struct machines *all = client->provider_data;
    while (all->first != NULL) {
        struct machine *m = all->first;
        /* Those that run on detached; attached ones hold the client until their end. */
        machine_orphan(steal_fd(&m->child.pidfd));
        machine_free(m);
    }
    free(all);
    client->provider_data = NULL;
}

/* ------------------------------------------------------------ Create */

static void create_end(struct op *op, sbx_status status) {
    struct machine *m = op->ctx;
    m->creating = NULL;
    if (status != SBX_OK) machine_abandon(m);
}

/* At level landlock root's commands run as another user, who must get through to the home directory. */
static sbx_status check_way(const char *directory, sbx_error *err) {
    char path[LIMIT_PATH];
    snprintf(path, sizeof path, "%s", directory);
    for (char *slash = path + strlen(path); slash != NULL; slash = strrchr(path, '/')) {
        *slash = '\0';
        struct stat st;
        if (slash == path || stat(path, &st) != 0 || (st.st_mode & S_IXOTH) != 0) continue;
        return error_set(err, SBX_ERROR_DENIED,
                         "isolation landlock runs root's commands as another user, who cannot pass %s: "
                         "choose a runtime directory "
                         "elsewhere (XDG_RUNTIME_DIR, or the option runtime_dir)",
                         path);
    }
    return SBX_OK;
}

static sbx_status prepare(struct machine *m, const sbx_sandbox_options *options, struct buf *config,
                          sbx_error *err) {
    if (!record_new_id(m->record.id) || !text_random_hex(32, m->record.token))
        return error_system(err, errno, "random numbers for an id");
    strcpy(m->record.version, SBX_VERSION);
    m->detached = options->detached != 0;
    cleanup_free char *dir = NULL;
    if (local_config_needs_dir(options)) {
        int runtime = record_runtime(&m->runtime, m->client->runtime_dir, err);
        if (runtime < 0) return SBX_ERROR_SYSTEM;
        close(runtime);
        bool other_user = geteuid() == 0 && options->isolation != NULL &&
                          strcmp(options->isolation, SBX_ISOLATION_LANDLOCK) == 0;
        if (other_user && check_way(m->runtime, err) != SBX_OK) return SBX_ERROR_DENIED;
        if (asprintf(&dir, "%s/%s", m->runtime, m->record.id) < 0) {
            dir = NULL;
            return error_memory(err);
        }
    }
    const struct local_config c = {
        .id = m->record.id, .token = m->record.token, .dir = dir, .options = options};
    return local_config_write(config, &c, err);
}

void provider_local_create(struct op *op, const sbx_sandbox_options *options, const char *pool, bool ends) {
    machine_look(op->client);
    sbx_error error = {.code = SBX_OK};
    if (local_config_check(options, &error) != SBX_OK) {
        op_fail(op, &error);
        return;
    }
    struct machine *m = machine_new(op->client);
    if (m == NULL) {
        op_fail_memory(op);
        return;
    }
    m->pooled = ends;
    snprintf(m->record.pool, sizeof m->record.pool, "%s", pool != NULL ? pool : "");
    struct buf config = BUF_INIT(LIMIT_JSON_BODY);
    cleanup_free char *agent = NULL;
    if (agent_path_find(&agent, op->client->agent_path, &error) == SBX_OK &&
        prepare(m, options, &config, &error) == SBX_OK &&
        machine_start(m, agent, &config, &error) == SBX_OK) {
        m->creating = op;
        op->ctx = m;
        op->end = create_end;
    } else {
        machine_free(m);
        op_fail(op, &error);
    }
    if (config.data != NULL) explicit_bzero(config.data, config.len);
    buf_free(&config);
}

static void create(struct op *op, const sbx_sandbox_options *options) {
    provider_local_create(op, options, NULL, false);
}

/* ------------------------------------------------------------ Connect */

static bool find(struct machine *m, const char *id, sbx_error *err) {
    cleanup_fd int runtime = record_runtime(&m->runtime, m->client->runtime_dir, err);
    if (runtime < 0) return false;
    m->dir = record_open(runtime, id, err);
    if (m->dir < 0 || record_read(m->dir, id, &m->record, err) != SBX_OK) return false;
    m->child.pidfd = record_keeper(m->dir, &m->record);
    if (m->child.pidfd < 0 && !record_alive(m->dir)) {
        error_set(err, SBX_ERROR_NOT_FOUND, RECORD_ENDED, id);
        return false;
    }
    return true;
}

static void connect_by_id(struct op *op, const char *id) {
    struct machine *m = machine_new(op->client);
    if (m == NULL) {
        op_fail_memory(op);
        return;
    }
    m->detached = true;
    sbx_error error = {.code = SBX_OK};
    struct sbx_sandbox *sandbox = NULL;
    if (find(m, id, &error)) {
        if (m->child.pidfd >= 0 && !machine_watch(m))
            error_system(&error, errno, "watching sandbox %s", id);
        else
            sandbox = machine_sandbox(m, 0, &error);
    }
    if (sandbox == NULL) {
        machine_free(m);
        op_fail(op, &error);
        return;
    }
    /* Another version of the library may have started it. */
    sandbox_endpoint_probe(op, sandbox);
}

/* ------------------------------------------------------------ Kill */

struct killing {
    struct machine_kill kill;
    struct machine *machine;
    struct io_timer poll;
};

static void kill_end(struct op *op, sbx_status status) {
    struct killing *k = op->ctx;
    (void)status;
    machine_kill_forget(&k->kill);
    io_timer_clear(&op->client->io, &k->poll);
    free(k);
}

/* A keeper in another pid namespace gets no signal from here; its lock tells its end. */
static void look_at_lock(void *ctx) {
    struct killing *k = ctx;
    struct op *op = k->kill.op;
    struct machine *m = k->machine;
    if (m->ended) {
        op_done(op, SBX_OK);
    } else if (!record_alive(m->dir)) {
        struct sbx_sandbox *sandbox = m->sandbox;
        sandbox_hold(sandbox);
        op_done(op, SBX_OK);
        machine_confirmed(m, -1);
        sandbox_release(sandbox);
    } else if (!io_timer_set(&op->client->io, &k->poll, clock_deadline(INTERVAL_LOCK))) {
        op_fail_memory(op);
    }
}

static void shutdown_done(struct op *op, struct request_reply *reply, void *ctx) {
    (void)op;
    (void)reply;
    look_at_lock(ctx);
}

static void shutdown_failed(struct op *op, const sbx_error *error, void *ctx) {
    struct killing *k = ctx;
    if (record_alive(k->machine->dir))
        op_fail(op, error);
    else
        look_at_lock(ctx);
}

static void kill_by_request(struct op *op, struct killing *k) {
    const struct request_spec spec = {.method = "POST",
                                      .log_route = "shutdown",
                                      .what = "ending the sandbox",
                                      .target = "shutdown",
                                      .repeatable = true,
                                      .done = shutdown_done,
                                      .on_error = shutdown_failed,
                                      .ctx = k};
    request_start(op, &spec);
}

static void kill_sandbox(struct op *op, struct sbx_sandbox *sandbox) {
    struct machine *m = sandbox->machine;
    if (m->ended && !m->cleaning) {
        op_done(op, SBX_OK);
        return;
    }
    struct killing *k = calloc(1, sizeof *k);
    if (k == NULL) {
        op_fail_memory(op);
        return;
    }
    *k = (struct killing){.kill = {.op = op}, .machine = m, .poll = {.fire = look_at_lock, .ctx = k}};
    op->ctx = k;
    op->end = kill_end;
    if (m->child.pidfd >= 0 || m->cleaning)
        machine_kill(m, &k->kill);
    else
        kill_by_request(op, k);
}

/* Attached ones are known here only, detached ones by their directories. */
static void kill_by_id(struct op *op, const char *id) {
    machine_look(op->client);
    const struct machines *all = op->client->provider_data;
    for (const struct machine *m = all->first; m != NULL; m = m->next) {
        if (m->sandbox == NULL || m->detached || m->ended || strcmp(m->record.id, id) != 0) continue;
        sandbox_hold(m->sandbox);
        op->sandbox = m->sandbox;
        kill_sandbox(op, m->sandbox);
        return;
    }
    local_end_one(op, id);
}

static void close_sandbox(struct sbx_sandbox *sandbox) {
    struct machine *m = sandbox->machine;
    sandbox->machine = NULL;
    if (m->detached && !m->pooled)
        machine_let_go(m);
    else
        machine_abandon(m);
}

const struct provider provider_local = {
    .name = "local",
    .client_new = client_new,
    .client_free = client_free,
    .create = create,
    .connect = connect_by_id,
    .kill = kill_sandbox,
    .kill_by_id = kill_by_id,
    .close = close_sandbox,
    .list = local_list,
    .reap = local_end_older,
};
