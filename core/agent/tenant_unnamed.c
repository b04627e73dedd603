#include "agent/tenant_unnamed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/dir.h"
#include "util/text.h"

#define FIRST_ROOM 64
#define MOST       65536 /* files; who has more of them open hides something */

struct file {
    dev_t dev;
    ino_t ino; /* 0 = none */
};

struct tenant_unnamed {
    const struct tenant *tenant;
    struct dir processes, descriptors; /* the latter of one of them, or closed */
    struct file *seen;                 /* a hash table, never more than half full */
    size_t room, count;
    dev_t memory; /* of /dev/shm: that counts as memory */
    uint64_t sum;
};

static bool open_descriptors(struct tenant_unnamed *u, const char *process) {
    char path[40];
    text_format(path, sizeof path, "/proc/%.20s/fd", process);
    if (dir_open_path(&u->descriptors, path)) return true;
    if (errno != EACCES || !tenant_become(u->tenant)) return false;
    bool ok = dir_open_path(&u->descriptors, path);
    tenant_come_back(u->tenant);
    return ok;
}

struct tenant_unnamed *tenant_unnamed_new(const struct tenant *t, bool uploads) {
    struct tenant_unnamed *u = calloc(1, sizeof *u);
    struct stat st;
    if (u == NULL) return NULL;
    u->tenant = t;
    u->room = FIRST_ROOM;
    u->seen = calloc(u->room, sizeof *u->seen);
    if (stat("/dev/shm", &st) == 0) u->memory = st.st_dev;
    if (u->seen != NULL && dir_open_path(&u->processes, "/proc")) {
        if (uploads) open_descriptors(u, "self");
        return u;
    }
    tenant_unnamed_free(u);
    return NULL;
}

void tenant_unnamed_free(struct tenant_unnamed *u) {
    if (u == NULL) return;
    dir_close(&u->processes);
    dir_close(&u->descriptors);
    free(u->seen);
    free(u);
}

static bool put(struct file *table, size_t room, const struct file *f) {
    size_t at = (size_t)(f->ino * 0x9e3779b97f4a7c15U >> 32) & (room - 1);
    while (table[at].ino != 0) {
        if (table[at].ino == f->ino && table[at].dev == f->dev) return false;
        at = (at + 1) & (room - 1);
    }
    table[at] = *f;
    return true;
}

/* Whether it is new. Without memory it counts again. */
static bool is_new(struct tenant_unnamed *u, const struct stat *st) {
    const struct file f = {.dev = st->st_dev, .ino = st->st_ino};
    if (u->count * 2 >= u->room) {
        struct file *larger = calloc(u->room * 2, sizeof *larger);
        if (larger == NULL) return true;
        for (size_t i = 0; i < u->room; i++)
            if (u->seen[i].ino != 0) put(larger, u->room * 2, &u->seen[i]);
        free(u->seen);
        u->seen = larger;
        u->room *= 2;
    }
    bool added = put(u->seen, u->room, &f);
    u->count += added;
    return added;
}

static bool look(struct tenant_unnamed *u, const char *name, struct stat *st) {
    if (fstatat(u->descriptors.fd, name, st, 0) == 0) return true;
    if (errno != EACCES || !tenant_become(u->tenant)) return false;
    bool ok = fstatat(u->descriptors.fd, name, st, 0) == 0;
    tenant_come_back(u->tenant);
    return ok;
}

static void add(struct tenant_unnamed *u, const char *name) {
    struct stat st;
    if (!look(u, name, &st) || !S_ISREG(st.st_mode) || st.st_nlink > 0 || st.st_uid != u->tenant->uid ||
        st.st_dev == u->memory || !is_new(u, &st))
        return;
    u->sum += (uint64_t)st.st_blocks * 512;
}

static bool next_process(struct tenant_unnamed *u) {
    for (const struct dir_entry *e; (e = dir_next(&u->processes)) != NULL;) {
        uint64_t pid;
        struct stat st;
        if (!text_u64(e->name, strlen(e->name), &pid) || fstatat(u->processes.fd, e->name, &st, 0) != 0)
            continue;
        if (st.st_uid == u->tenant->uid && open_descriptors(u, e->name)) return true;
    }
    return false;
}

bool tenant_unnamed_some(struct tenant_unnamed *u, int64_t deadline_us, uint64_t *sum) {
    for (size_t steps = 1;; steps++) {
        const struct dir_entry *e = u->descriptors.bytes != NULL ? dir_next(&u->descriptors) : NULL;
        if (e != NULL) {
            add(u, e->name);
        } else {
            dir_close(&u->descriptors);
            if (!next_process(u)) break;
        }
        if (u->count > MOST) break;
        if (steps % 64 == 0 && clock_us() > deadline_us) return false;
    }
    *sum = u->count > MOST ? UINT64_MAX : u->sum;
    return true;
}
