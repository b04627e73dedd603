#include "agent/procfs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "agent/syscalls.h"
#include "util/dir.h"
#include "util/testing.h"
#include "util/text.h"
#include "util/whole.h"

#define PF_KTHREAD 0x00200000UL /* in the flags of a kernel thread */

static struct dir proc; /* stays open */
static int spare[2] = {-1, -1};
static bool short_of;

static void take_spares(void) {
    for (size_t i = 0; i < 2 && proc.bytes != NULL && !testing_off("spare-descriptors"); i++)
        if (spare[i] < 0) spare[i] = sys_fcntl(proc.fd, F_DUPFD_CLOEXEC, 3);
}

static bool give_spare(void) {
    for (size_t i = 0; i < 2; i++) {
        if (spare[i] < 0) continue;
        close(spare[i]);
        spare[i] = -1;
        return true;
    }
    return false;
}

/* Whether an attempt that failed should be made again. */
static bool again(int error) {
    if (error == EINTR) return true;
    if (error != EMFILE && error != ENFILE && error != ENOMEM) return false;
    if (give_spare()) return true;
    short_of = true;
    errno = error;
    return false;
}

void procfs_init(void) {
    if (proc.bytes == NULL) dir_open_path(&proc, "/proc");
    take_spares();
}

bool procfs_list(void) {
    procfs_init();
    if (proc.bytes == NULL) return false;
    dir_rewind(&proc);
    return true;
}

pid_t procfs_next(void) {
    for (const struct dir_entry *entry; (entry = dir_next(&proc)) != NULL;) {
        uint64_t pid;
        if (text_u64(entry->name, strlen(entry->name), &pid)) return (pid_t)pid;
    }
    return 0;
}

bool procfs_fell_short(void) {
    bool was = short_of || proc.bytes == NULL;
    short_of = false;
    take_spares();
    return was;
}

static bool read_file(pid_t pid, const char *file, char *text, size_t size) {
    char path[48];
    if (proc.bytes == NULL) return false;
    text_format(path, sizeof path, "%d/%s", (int)pid, file);
    do
        errno = 0;
    while (!whole_read(proc.fd, path, text, size) && again(errno));
    return text[0] != '\0';
}

bool procfs_stat(pid_t pid, struct procfs_stat *out) {
    char text[1024];
    return read_file(pid, "stat", text, sizeof text) && procfs_parse_stat(text, out);
}

bool procfs_realtime_limit(pid_t pid, uint64_t *hard) {
    char text[4096];
    return read_file(pid, "limits", text, sizeof text) && procfs_parse_limits(text, hard);
}

int procfs_pidfd(pid_t pid) {
    int fd;
    do
        fd = (int)syscall(SYS_pidfd_open, pid, 0);
    while (fd < 0 && again(errno));
    return fd;
}

bool procfs_is_dead(const struct procfs_stat *stat) {
    return stat->state == 'X' || (stat->state == 'Z' && (stat->threads <= 1 || testing_off("headless")));
}

static const char *skip_fields(const char *p, int count) {
    for (; count > 0 && p != NULL; count--) {
        p = strchr(p, ' ');
        if (p != NULL) p++;
    }
    return p;
}

bool procfs_parse_stat(const char *text, struct procfs_stat *out) {
    const char *p = strrchr(text, ')'); /* the name before it may hold anything, also ")" and line ends */
    if (p == NULL || p[1] != ' ' || p[2] == '\0' || p[3] != ' ') return false;
    out->state = p[2];
    uint64_t parent, group, session;
    p += 4; /* to field 4 */
    if (!text_take(&p, &parent) || !text_take(&p, &group) || !text_take(&p, &session)) return false;
    out->parent = (pid_t)parent;
    out->group = (pid_t)group;
    out->session = (pid_t)session;
    p = skip_fields(p, 3); /* after field 6 to field 9 */
    if (p == NULL) return false;
    out->kernel = (text_number(p) & PF_KTHREAD) != 0;
    p = skip_fields(p, 11); /* to field 20 */
    if (p == NULL || !text_take(&p, &out->threads)) return false;
    p = skip_fields(p, 2); /* after field 20 to field 22 */
    return p != NULL && text_take(&p, &out->started);
}

bool procfs_parse_limits(const char *text, uint64_t *hard) {
    const char *p = text_after(text, "Max realtime timeout");
    if (p == NULL) return false;
    p += strspn(p, " ");
    p += strcspn(p, " "); /* the soft limit */
    p += strspn(p, " ");
    if (strncmp(p, "unlimited", 9) == 0) {
        *hard = UINT64_MAX;
        return true;
    }
    return text_take(&p, hard);
}
