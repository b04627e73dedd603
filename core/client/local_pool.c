#include "client/local_pool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/client.h"
#include "client/fork_lock.h"
#include "client/local_spawn.h"
#include "client/machine.h"
#include "client/provider_local.h"
#include "util/text.h"

/* ---- Options that outlive the call */

static char **copy_list(const char *const *list) {
    size_t count = 0;
    while (list != NULL && list[count] != NULL)
        count++;
    char **own = calloc(count + 1, sizeof *own);
    for (size_t i = 0; own != NULL && i < count; i++) {
        if ((own[i] = strdup(list[i])) != NULL) continue;
        while (i-- > 0)
            free(own[i]);
        free(own);
        return NULL;
    }
    return own;
}

static void free_list(char **list) {
    for (size_t i = 0; list != NULL && list[i] != NULL; i++) {
        explicit_bzero(list[i], strlen(list[i]));
        free(list[i]);
    }
    free(list);
}

void local_pool_options_free(struct local_pool_options *o) {
    sbx_sandbox_options *own = &o->options;
    free_list((char **)(uintptr_t)own->env);
    for (size_t i = 0; own->binds != NULL && i < own->bind_count; i++) {
        free((void *)(uintptr_t)own->binds[i].source);
        free((void *)(uintptr_t)own->binds[i].target);
    }
    free((void *)(uintptr_t)own->binds);
    free((void *)(uintptr_t)own->isolation);
    free((void *)(uintptr_t)own->network);
    free((void *)(uintptr_t)own->cwd);
    *own = (sbx_sandbox_options){.size = sizeof *own};
}

static bool copy_binds(sbx_sandbox_options *own, const sbx_sandbox_options *given) {
    if (given->bind_count == 0) return true;
    sbx_bind *binds = calloc(given->bind_count, sizeof *binds);
    if (binds == NULL) return false;
    own->binds = binds;
    own->bind_count = given->bind_count;
    bool ok = true;
    for (size_t i = 0; i < given->bind_count; i++) {
        binds[i].writable = given->binds[i].writable;
        ok = text_copy(&binds[i].source, given->binds[i].source) &&
             text_copy(&binds[i].target, given->binds[i].target) && ok;
    }
    return ok;
}

bool local_pool_options_copy(struct local_pool_options *out, const sbx_sandbox_options *given,
                             const char *pool) {
    sbx_sandbox_options *own = &out->options;
    *out = (struct local_pool_options){.options = *given, .pool = pool};
    own->binds = NULL;
    own->bind_count = 0;
    own->isolation = own->network = own->cwd = NULL;
    own->env = (const char *const *)copy_list(given->env);
    bool ok = own->env != NULL && copy_binds(own, given) && text_copy(&own->isolation, given->isolation) &&
              text_copy(&own->network, given->network) && text_copy(&own->cwd, given->cwd);
    if (!ok) local_pool_options_free(out);
    return ok;
}

/* ---- Those that end with the program, though they have a record */

static struct fork_lock kept_lock;
static struct kept {
    struct kept *next;
    const struct machine *machine;
    pid_t owner;
    int pidfd;
} * kept;

static void at_exit(void) {
    if (!fork_lock_take_within(&kept_lock, 200)) return;
    for (struct kept *k = kept; k != NULL; k = k->next)
        if (k->owner == getpid() && k->pidfd >= 0) local_spawn_signal(k->pidfd, SIGTERM);
    fork_lock_give(&kept_lock);
}

static void nothing(void) {}

void local_pool_keep(const struct machine *m) {
    struct kept *k = calloc(1, sizeof *k);
    if (k == NULL) return;
    parting_at_exit(at_exit, nothing);
    fork_lock_take(&kept_lock);
    *k = (struct kept){
        .next = kept, .machine = m, .owner = getpid(), .pidfd = fcntl(m->child.pidfd, F_DUPFD_CLOEXEC, 3)};
    kept = k;
    fork_lock_give(&kept_lock);
}

void local_pool_forget(const struct machine *m) {
    fork_lock_take(&kept_lock);
    for (struct kept **at = &kept; *at != NULL; at = &(*at)->next) {
        struct kept *k = *at;
        if (k->machine != m) continue;
        *at = k->next;
        if (k->pidfd >= 0) close(k->pidfd);
        free(k);
        break;
    }
    fork_lock_give(&kept_lock);
}

bool local_pool_owns(const struct sbx_client *client, const char *id) {
    const struct machines *all = client->provider_data;
    for (const struct machine *m = all->first; m != NULL; m = m->next)
        if (m->pooled && m->sandbox != NULL && !m->ended && strcmp(m->record.id, id) == 0) return true;
    return false;
}

void local_pool_create(struct op *op, const struct local_pool_options *o) {
    sbx_sandbox_options options = o->options;
    bool attached = !options.detached;
    options.detached = 1;
    provider_local_create(op, &options, o->pool, attached);
}
