#include "client/local_list.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/client.h"
#include "client/local_pool.h"
#include "client/machine.h"
#include "util/scope.h"

/* ------------------------------------------------------------ Walking the records */

void local_found_forget(struct local_found *f) {
    if (f->keeper >= 0) close(f->keeper);
    f->keeper = -1;
    explicit_bzero(f->record.token, sizeof f->record.token);
}

/* One that is being made has a lock and no record, one that was left behind neither. */
bool local_look(struct local_found *f, int runtime, const char *id, sbx_error *err) {
    cleanup_fd int dir = record_open(runtime, id, err);
    if (dir < 0) return false;
    *f = (struct local_found){.keeper = -1};
    sbx_status status = record_read(dir, id, &f->record, err);
    if (status == SBX_ERROR_NOT_FOUND) {
        record_clean(runtime, id); /* does nothing to one that lives */
        return false;
    }
    f->damaged = status != SBX_OK;
    if (f->damaged) {
        memcpy(f->record.id, id, RECORD_ID_SIZE);
        f->record.created_at_ms = record_made_ms(dir);
    }
    f->keeper = record_keeper(dir, &f->record);
    f->running = f->keeper >= 0 || record_alive(dir);
    return true;
}

sbx_status local_walk(struct sbx_client *client, local_visit *visitor, void *ctx, sbx_error *err) {
    cleanup_free char *path = NULL;
    cleanup_fd int runtime = record_runtime(&path, client->runtime_dir, err);
    if (runtime < 0) return err->code;
    DIR *dir = opendir(path);
    if (dir == NULL) return error_system(err, errno, "the runtime directory %s", path);
    bool more = true;
    for (struct dirent *e; more && (e = readdir(dir)) != NULL;) {
        struct local_found f;
        if (!record_id_ok(e->d_name) || !local_look(&f, runtime, e->d_name, NULL)) continue;
        more = visitor(&f, runtime, ctx);
        local_found_forget(&f);
    }
    closedir(dir);
    return more ? SBX_OK : error_memory(err);
}

/* ------------------------------------------------------------ List */

struct lister {
    sbx_sandbox_list *list;
    int64_t newest; /* those made later are left out */
    const struct sbx_client *client;
};

static bool add_row(struct lister *l, const struct local_found *f, bool detached) {
    if (f->record.created_at_ms > l->newest) return true;
    sbx_sandbox_info_row row = {.id = f->record.id,
                                .provider = "local",
                                .created_at_ms = f->record.created_at_ms,
                                .pid = f->running ? f->record.pid : 0,
                                .detached = detached,
                                .running = f->running,
                                .damaged = f->damaged,
                                .pool = f->record.pool[0] != '\0' ? f->record.pool : NULL};
    return sandbox_list_add(l->list, &row);
}

static bool list_visit(struct local_found *f, int runtime, void *ctx) {
    const struct lister *l = ctx;
    (void)runtime;
    return add_row(ctx, f, !local_pool_owns(l->client, f->record.id));
}

void local_list(struct op *op, const sbx_filter *filter) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct lister lister = {.list = sandbox_list_new(), .newest = INT64_MAX, .client = op->client};
    if (filter->min_age_ms > 0)
        lister.newest = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 - filter->min_age_ms;
    if (lister.list == NULL) {
        op_fail_memory(op);
        return;
    }
    bool ok = true;
    machine_look(op->client);
    const struct machines *all = op->client->provider_data;
    for (const struct machine *m = all->first; ok && m != NULL; m = m->next)
        if (m->sandbox != NULL && !m->detached && !m->ended) {
            struct local_found own = {.record = m->record, .keeper = -1, .running = true};
            own.record.pid = m->child.pid;
            ok = add_row(&lister, &own, false);
            local_found_forget(&own);
        }
    sbx_error error = {.code = SBX_OK};
    if (!ok)
        error_memory(&error);
    else
        local_walk(op->client, list_visit, &lister, &error);
    if (error.code != SBX_OK) {
        sbx_sandbox_list_free(lister.list);
        op_fail(op, &error);
        return;
    }
    op->out.sandboxes = lister.list;
    op_done(op, SBX_OK);
}
