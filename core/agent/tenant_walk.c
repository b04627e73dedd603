#include "agent/tenant_walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/dir.h"

#define OPEN_LEVELS 16    /* the deepest levels keep their descriptor and their place in the directory */
#define LEVELS_MAX  10000 /* nobody needs that many, but to hide what he writes */
#define ENTRY       1024  /* bytes of an entry besides its blocks: there may be millions of empty ones */

struct level {
    struct dir dir; /* closed when it is not among the deepest, to be opened again from its child */
    dev_t dev;
    ino_t ino;
    int64_t place; /* where to go on reading */
};

struct tenant_walk {
    struct level *levels;
    size_t depth, room;
    uint64_t sum;
    bool too_deep;
};

static bool push(struct tenant_walk *w, int at, const char *name) {
    if (w->depth == LEVELS_MAX) {
        w->too_deep = true;
        return false;
    }
    if (w->depth == w->room) {
        size_t room = w->room == 0 ? 8 : 2 * w->room;
        struct level *grown = realloc(w->levels, room * sizeof *grown);
        if (grown == NULL) return false;
        w->levels = grown;
        w->room = room;
    }
    struct level l = {.place = 0};
    struct stat st;
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || (w->depth > 0 && st.st_dev != w->levels[0].dev)) {
        if (fd >= 0) close(fd);
        return false;
    }
    if (!dir_open(&l.dir, fd)) return false;
    l.dev = st.st_dev;
    l.ino = st.st_ino;
    w->sum += (uint64_t)st.st_blocks * 512 + ENTRY;
    w->levels[w->depth++] = l;
    if (w->depth > OPEN_LEVELS) dir_close(&w->levels[w->depth - OPEN_LEVELS - 1].dir);
    return true;
}

/* Opens a level again as the parent of the one below it. Somebody may have moved that one away; then the walk
 * ends there, and the next one sees it all. */
static bool reopen(struct tenant_walk *w, size_t index) {
    struct level *l = &w->levels[index];
    if (l->dir.bytes != NULL) return true;
    struct stat st;
    int parent = openat(w->levels[index + 1].dir.fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!dir_open(&l->dir, parent)) return false;
    if (fstat(parent, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino &&
        lseek(parent, l->place, SEEK_SET) >= 0)
        return true;
    dir_close(&l->dir);
    return false;
}

static void pop(struct tenant_walk *w) {
    if (w->depth > 1 && !reopen(w, w->depth - 2)) {
        while (w->depth > 0)
            dir_close(&w->levels[--w->depth].dir);
        return;
    }
    dir_close(&w->levels[--w->depth].dir);
}

/* A file with several names counts in parts. */
static void add_entry(struct tenant_walk *w, int at, const struct dir_entry *e) {
    struct stat st;
    if (e->type == DT_DIR && (push(w, at, e->name) || w->too_deep)) return;
    if (fstatat(at, e->name, &st, AT_SYMLINK_NOFOLLOW) != 0) return;
    if (S_ISDIR(st.st_mode) && e->type != DT_DIR)
        push(w, at, e->name);
    else
        w->sum += (uint64_t)st.st_blocks * 512 / (st.st_nlink > 0 && !S_ISDIR(st.st_mode) ? st.st_nlink : 1) +
                  ENTRY;
}

struct tenant_walk *tenant_walk_new(int home) {
    struct tenant_walk *w = calloc(1, sizeof *w);
    if (w == NULL || push(w, home, ".")) return w;
    tenant_walk_free(w);
    return NULL;
}

void tenant_walk_free(struct tenant_walk *w) {
    if (w == NULL) return;
    while (w->depth > 0)
        dir_close(&w->levels[--w->depth].dir);
    free(w->levels);
    free(w);
}

bool tenant_walk_some(struct tenant_walk *w, int64_t deadline_us, uint64_t *sum) {
    for (size_t steps = 1; w->depth > 0 && !w->too_deep; steps++) {
        struct level *l = &w->levels[w->depth - 1];
        const struct dir_entry *e = dir_next(&l->dir);
        if (e == NULL) {
            pop(w);
            continue;
        }
        l->place = e->next;
        add_entry(w, l->dir.fd, e);
        if (steps % 64 == 0 && clock_us() > deadline_us) return false;
    }
    *sum = w->too_deep ? UINT64_MAX : w->sum;
    return true;
}
