#include "agent/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/namespaces.h"
#include "agent/rawcall.h"
#include "util/dir.h"
#include "util/testing.h"
#include "util/text.h"
#include "wire/limits.h"

#define NICENESS 5 /* the agent, the neighbours' agents and the host's programs go first */

static struct limits chosen;
static enum confine_level level;

static struct {
    int resource;
    uint64_t soft, hard;
} table[12];
static size_t table_len;

void limits_choose(const struct confine_config *c) {
    level = c->level;
    chosen = c->limits;
}

const struct limits *limits_get(void) {
    return &chosen;
}

/* Without a user namespace the kernel counts this user's threads on the whole host: the limit has to stand
   above those that run already. */
static uint64_t threads_of(uid_t uid) {
    uint64_t count = 0, pid;
    struct dir proc;
    if (!dir_open_path(&proc, "/proc")) return 0;
    for (const struct dir_entry *d; (d = dir_next(&proc)) != NULL;) {
        char path[32];
        struct stat st;
        if (!text_u64(d->name, strlen(d->name), &pid)) continue;
        text_format(path, sizeof path, "%.20s/task", d->name);
        if (fstatat(proc.fd, path, &st, 0) == 0 && st.st_uid == uid && st.st_nlink > 2)
            count += st.st_nlink - 2;
    }
    dir_close(&proc);
    return count;
}

/* Never above what the agent itself was given; returns the hard limit that it will be. */
static uint64_t put(int resource, uint64_t soft, uint64_t hard) {
    uint64_t now[2];
    if (syscall(SYS_prlimit64, 0, resource, NULL, now) == 0) {
        if (hard > now[1]) hard = now[1];
        if (soft > hard) soft = hard;
    }
    table[table_len].resource = resource;
    table[table_len].soft = soft;
    table[table_len++].hard = hard;
    return hard;
}

bool limits_prepare(struct confine_error *e) {
    const uint64_t all = ~(uint64_t)0;
    table_len = 0;
    if (level != CONFINE_FULL && chosen.disk != 0)
        return confine_fail(e, "limits", 0, "leave the limit of the disk out, or use level full",
                            "this level cannot limit the disk, which is the host's");
    if (level != CONFINE_NONE) {
        put(RLIMIT_CORE, 0, 0);
        put(RLIMIT_RTPRIO, 0, 0);
        put(RLIMIT_MEMLOCK, MIB(8), MIB(8));
        put(RLIMIT_MSGQUEUE, KIB(800), KIB(800));
        put(RLIMIT_SIGPENDING, 16384, 16384);
    }
    if (chosen.open_files != 0) chosen.open_files = put(RLIMIT_NOFILE, chosen.open_files, chosen.open_files);
    if (chosen.processes != 0 && !testing_off("process-limit")) {
        uint64_t others = level == CONFINE_FULL ? 0 : threads_of(namespaces_outside());
        uint64_t most = put(RLIMIT_NPROC, chosen.processes + others, chosen.processes + others);
        chosen.processes = most > others ? most - others : 1;
    }
    /* Soft only: sanitizers reserve terabytes and may lift it; the watch of the total stays. */
    if (chosen.memory != 0 && !testing_off("memory-limit")) put(RLIMIT_DATA, chosen.memory, all);
    return true;
}

RAWCALL_CHILD int limits_child(const struct sandbox *sandbox) {
    (void)sandbox;
    for (size_t i = 0; i < table_len; i++) {
        const uint64_t pair[2] = {table[i].soft, table[i].hard};
        long error = raw4(SYS_prlimit64, 0, table[i].resource, (long)pair, 0);
        if (error < 0) return (int)error;
    }
    if (level != CONFINE_NONE) raw3(SYS_setpriority, PRIO_PROCESS, 0, NICENESS);
    /* Where no pid namespace does it: commands end with the agent. */
    if (level != CONFINE_FULL) raw3(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0);
    return 0;
}
