#include "agent/descend.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/dir.h"
#include "util/scope.h"
#include "util/text.h"
#include "util/whole.h"
#include "wire/limits.h"

/* Its parent and when it started, in ticks since the machine did; false: it is gone. */
static bool read_stat(int proc, const char *name, struct descend_entry *out) {
    char path[32], text[512];
    text_format(path, sizeof path, "%.20s/stat", name);
    if (!whole_read(proc, path, text, sizeof text)) return false;
    /* The name in parentheses may hold anything: the fields begin after the last of them. */
    const char *at = strrchr(text, ')');
    if (at == NULL || strlen(at) < 5) return false;
    out->parent = (pid_t)text_number(at + 4);
    for (int field = 2; at != NULL && field < 22; field++)
        at = strchr(at + 1, ' ');
    out->started = at != NULL ? text_number(at + 1) : 0;
    return true;
}

static bool read_all(struct dir *proc, struct descend_entry **out, size_t *count) {
    size_t room = 0;
    for (const struct dir_entry *d; (d = dir_next(proc)) != NULL;) {
        uint64_t pid;
        if (!text_u64(d->name, strlen(d->name), &pid)) continue;
        struct descend_entry entry = {.pid = (pid_t)pid};
        if (!read_stat(proc->fd, d->name, &entry)) continue;
        if (*count == room) {
            room = room == 0 ? 64 : room * 2;
            struct descend_entry *more = realloc(*out, room * sizeof *more);
            if (more == NULL) return false;
            *out = more;
        }
        (*out)[(*count)++] = entry;
    }
    return true;
}

/* Moves the descendants to the front, generation after generation, and returns how many there are. */
static size_t select_tree(pid_t root, struct descend_entry *list, size_t count) {
    size_t found = 0, generation = 0;
    pid_t parent = root;
    for (;;) {
        for (size_t i = found; i < count; i++) {
            if (list[i].parent != parent) continue;
            struct descend_entry swap = list[found];
            list[found++] = list[i];
            list[i] = swap;
        }
        if (generation == found) return found;
        parent = list[generation++].pid;
    }
}

bool descend_list(pid_t root, struct descend_entry **out, size_t *count) {
    *out = NULL;
    *count = 0;
    struct dir proc;
    if (!dir_open_path(&proc, "/proc")) return false;
    bool ok = read_all(&proc, out, count);
    dir_close(&proc);
    if (!ok) {
        free(*out);
        *out = NULL;
        *count = 0;
        return false;
    }
    *count = select_tree(root, *out, *count);
    return true;
}

int descend_open(const struct descend_entry *entry) {
    char name[16];
    struct descend_entry now;
    int fd = (int)syscall(SYS_pidfd_open, entry->pid, 0);
    text_format(name, sizeof name, "%d", (int)entry->pid);
    cleanup_fd int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || (read_stat(proc, name, &now) && now.started == entry->started)) return fd;
    close(fd);
    return -1;
}

void descend_signal(int pidfd, int number) {
    syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0);
}

static void kill_once(pid_t root) {
    struct descend_entry *list;
    size_t count;
    if (!descend_list(root, &list, &count)) return;
    for (size_t i = 0; i < count; i++) {
        cleanup_fd int fd = descend_open(&list[i]);
        if (fd >= 0) descend_signal(fd, SIGKILL);
    }
    free(list);
}

void descend_end(void) {
    int64_t deadline = clock_deadline(TIMEOUT_TREE_KILL * 2);
    for (;;) {
        kill_once(getpid());
        pid_t ended;
        while ((ended = waitpid(-1, NULL, WNOHANG)) > 0)
            continue;
        if (ended < 0 || clock_ms() > deadline) return;
        poll(NULL, 0, 1);
    }
}
