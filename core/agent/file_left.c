#include "agent/file_left.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/loop.h"
#include "agent/workers.h"
#include "util/testing.h"
#include "wire/limits.h"

struct left {
    struct job job;
    struct timer timer;
    int directory;  /* a descriptor, because the path may lead elsewhere by then */
    time_t changed; /* as of the last look */
    char name[40];  /* "" = it is gone */
};

static void work(struct job *j) {
    struct left *l = (struct left *)j;
    struct stat st;
    bool there = fstatat(l->directory, l->name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && (st.st_ctim.tv_sec != l->changed || testing_off("parts-left"))) {
        l->changed = st.st_ctim.tv_sec;
        return;
    }
    if (there) unlinkat(l->directory, l->name, 0); /* else it was finished */
    l->name[0] = '\0';
}

static void fire(struct timer *t) {
    workers_submit(&((struct left *)((char *)t - offsetof(struct left, timer)))->job);
}

static void look_later(struct job *j) {
    struct left *l = (struct left *)j;
    if (l->name[0] != '\0' && loop_timer(&l->timer, loop_now() + testing_ms(TIMEOUT_PARTS), fire)) return;
    close(l->directory);
    free(l);
}

void file_left_watch(int directory, const char *name) {
    struct left *l = directory < LIMIT_PARTS_LEFT ? calloc(1, sizeof *l) : NULL;
    if (l == NULL) {
        close(directory);
        return;
    }
    l->job.work = work;
    l->job.done = look_later;
    l->directory = directory;
    memcpy(l->name, name, sizeof l->name);
    look_later(&l->job);
}
