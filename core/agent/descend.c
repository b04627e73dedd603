#include "agent/descend.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/dir.h"
#include "util/text.h"
#include "util/whole.h"

static pid_t parent_of(int proc, const char *name) {
    char path[32], text[512];
    text_format(path, sizeof path, "%.20s/stat", name);
    whole_read(proc, path, text, sizeof text);
    /* The name in parentheses may hold anything: the fields begin after the last of them. */
    const char *end = strrchr(text, ')');
    if (end == NULL || strlen(end) < 5) return -1;
    return (pid_t)text_number(end + 4);
}

static bool read_all(struct dir *proc, struct descend_entry **out, size_t *count) {
    size_t room = 0;
    for (const struct dir_entry *d; (d = dir_next(proc)) != NULL;) {
        uint64_t pid;
        if (!text_u64(d->name, strlen(d->name), &pid)) continue;
        pid_t parent = parent_of(proc->fd, d->name);
        if (parent < 0) continue;
        if (*count == room) {
            room = room == 0 ? 64 : room * 2;
            struct descend_entry *more = realloc(*out, room * sizeof *more);
            if (more == NULL) return false;
            *out = more;
        }
        (*out)[(*count)++] = (struct descend_entry){.pid = (pid_t)pid, .parent = parent};
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

void descend_kill(pid_t root) {
    struct descend_entry *list;
    size_t count;
    if (!descend_list(root, &list, &count)) return;
    for (size_t i = 0; i < count; i++)
        kill(list[i].pid, SIGKILL);
    free(list);
}
