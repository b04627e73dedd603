#include "client/record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "client/error.h"
#include "client/json.h"
#include "client/local_spawn.h"
#include "client/signal_guard.h"
#include "util/buf.h"
#include "util/rmtree.h"
#include "util/scope.h"
#include "util/testing.h"
#include "util/text.h"
#include "wire/names.h"

#define PREFIX     "local-"
#define RECORD_MAX 4096

bool record_new_id(char id[RECORD_ID_SIZE]) {
    memcpy(id, PREFIX, sizeof PREFIX);
    return text_random_hex(6, id + sizeof PREFIX - 1);
}

bool record_id_ok(const char *id) {
    if (strncmp(id, PREFIX, sizeof PREFIX - 1) != 0 || strlen(id) != RECORD_ID_SIZE - 1) return false;
    const char *digits = id + sizeof PREFIX - 1;
    return strspn(digits, "0123456789abcdef") == strlen(digits);
}

/* Closed to all others. Sandboxes that root starts without namespaces run as another user, who has to get
   through to his home: then others may pass, but neither see nor touch what is there, and record and socket
   stay root's alone. */
static bool is_private(mode_t mode) {
    return (mode & (geteuid() == 0 ? 066 : 077)) == 0;
}

/* Owned by this user and private, or -1 with *err. */
static int open_private(const char *path, sbx_error *err) {
    if (mkdir(path, geteuid() == 0 ? 0711 : 0700) != 0 && errno != EEXIST) {
        error_system(err, errno, "the runtime directory %s could not be made", path);
        return -1;
    }
    cleanup_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        error_system(err, errno, "the runtime directory %s (a directory, not a link, is needed)", path);
        return -1;
    }
    if (testing_off("runtime-private")) return steal_fd(&fd);
    if (st.st_uid != geteuid()) {
        error_set(err, SBX_ERROR_DENIED,
                  "the runtime directory %s belongs to user %u, not to you (%u); choose another with the "
                  "option runtime_dir "
                  "or XDG_RUNTIME_DIR",
                  path, (unsigned)st.st_uid, (unsigned)geteuid());
        return -1;
    }
    if (!is_private(st.st_mode)) {
        error_set(err, SBX_ERROR_DENIED,
                  "other users may enter the runtime directory %s (mode %04o): chmod 700 it", path,
                  (unsigned)st.st_mode & 07777);
        return -1;
    }
    int up = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (up < 0) error_system(err, errno, "the runtime directory %s", path);
    return up;
}

/* $XDG_RUNTIME_DIR counts only when it is this user's: after su or sudo it may be somebody else's. */
static const char *xdg_directory(const char **why_not) {
    const char *xdg = getenv("XDG_RUNTIME_DIR");
    struct stat st;
    *why_not = NULL;
    if (xdg == NULL || xdg[0] == '\0') return NULL;
    if (xdg[0] != '/')
        *why_not = "it is no absolute path";
    else if (stat(xdg, &st) != 0 || !S_ISDIR(st.st_mode))
        *why_not = "there is no such directory";
    else if (st.st_uid != geteuid())
        *why_not = "it is another user's";
    return *why_not == NULL ? xdg : NULL;
}

const char *record_runtime_ignored(const char *option) {
    const char *why_not = NULL;
    if (option == NULL) xdg_directory(&why_not);
    return why_not;
}

int record_runtime(char **path, const char *option, sbx_error *err) {
    char *text = NULL;
    const char *why_not, *xdg = xdg_directory(&why_not);
    int written;
    if (option != NULL) {
        /* Absolute, because the agent gets it too; realpath needs it to exist. */
        if (mkdir(option, geteuid() == 0 ? 0711 : 0700) != 0 && errno != EEXIST) {
            error_system(err, errno, "the runtime directory %s could not be made", option);
            return -1;
        }
        text = realpath(option, NULL);
        written = text != NULL ? 0 : -1;
    } else if (xdg != NULL) {
        written = asprintf(&text, "%s/hfsandbox", xdg);
    } else {
        written = asprintf(&text, "/tmp/hfsandbox-%u", (unsigned)geteuid());
    }
    if (written < 0) {
        error_system(err, errno, "the runtime directory %s", option != NULL ? option : "");
        return -1;
    }
    int fd = open_private(text, err);
    if (fd >= 0)
        *path = text;
    else
        free(text);
    return fd;
}

int record_open(int runtime, const char *id, sbx_error *err) {
    if (!record_id_ok(id)) {
        error_set(err, SBX_ERROR_INVALID,
                  "'%.64s' is no id of a local sandbox, which looks like local-0123456789ab", id);
        return -1;
    }
    cleanup_fd int fd = openat(runtime, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 && errno == ENOENT) {
        error_set(err, SBX_ERROR_NOT_FOUND, "there is no detached sandbox %s", id);
    } else if (fd < 0 || fstat(fd, &st) != 0) {
        error_system(err, errno, "the directory of sandbox %s", id);
    } else if (st.st_uid != geteuid() || !is_private(st.st_mode)) {
        error_set(err, SBX_ERROR_DENIED, "the directory of sandbox %s is not private (owner %u, mode %04o)",
                  id, (unsigned)st.st_uid, (unsigned)st.st_mode & 07777);
    } else {
        int up = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (up < 0) error_system(err, errno, "the directory of sandbox %s", id);
        return up;
    }
    return -1;
}

sbx_status record_write(int dir, const struct record *r, sbx_error *err) {
    static const char temporary[] = LOCAL_RECORD ".new";
    struct buf text = BUF_INIT(RECORD_MAX);
    buf_puts(&text, "{\"id\":");
    json_put_text(&text, r->id);
    buf_puts(&text, ",\"token\":");
    json_put_text(&text, r->token);
    buf_puts(&text, ",\"version\":");
    json_put_text(&text, r->version);
    if (r->pool[0] != '\0') {
        buf_puts(&text, ",\"pool\":");
        json_put_text(&text, r->pool);
    }
    /* Numbers above 2^53 do not survive every JSON reader; a start time counts ticks since the machine's
     * start and stays below. */
    buf_printf(&text, ",\"pid\":%d,\"start_time\":%llu,\"created_at_ms\":%lld}\n", (int)r->pid,
               (unsigned long long)r->start_time, (long long)r->created_at_ms);
    cleanup_fd int fd =
        text.failed ? -1 : openat(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && fchmod(fd, 0600) == 0 && signal_guard_write(fd, text.data, text.len, 0) &&
              renameat(dir, temporary, dir, LOCAL_RECORD) == 0;
    int error = errno;
    if (text.data != NULL) explicit_bzero(text.data, text.len);
    buf_free(&text);
    return ok ? SBX_OK : error_system(err, error, "the record of sandbox %s", r->id);
}

static bool parse(const char *text, size_t len, const char *id, struct record *r) {
    struct json *root = json_parse(text, len);
    const char *own = json_string(root, "id"), *token = json_string(root, "token");
    const char *version = json_string(root, "version"), *pool = json_string(root, "pool");
    int64_t pid = json_int(root, "pid", 0);
    bool ok = own != NULL && strcmp(own, id) == 0 && token != NULL && strlen(token) < sizeof r->token &&
              version != NULL && strlen(version) < sizeof r->version && pid > 1 && pid <= INT32_MAX;
    if (ok) {
        *r = (struct record){.pid = (pid_t)pid,
                             .start_time = json_uint(root, "start_time", 0),
                             .created_at_ms = json_int(root, "created_at_ms", 0)};
        strcpy(r->id, id);
        strcpy(r->token, token);
        strcpy(r->version, version);
        snprintf(r->pool, sizeof r->pool, "%s", pool != NULL ? pool : "");
        ok = r->start_time != 0;
    }
    json_free(root);
    return ok;
}

sbx_status record_read(int dir, const char *id, struct record *r, sbx_error *err) {
    cleanup_fd int fd = openat(dir, LOCAL_RECORD, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    if (fd < 0 && errno == ENOENT)
        return error_set(err, SBX_ERROR_NOT_FOUND, "there is no detached sandbox %s", id);
    if (fd < 0 || fstat(fd, &st) != 0) return error_system(err, errno, "the record of sandbox %s", id);
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0)
        return error_set(err, SBX_ERROR_DENIED, "the record of sandbox %s is not a private file of yours",
                         id);
    char text[RECORD_MAX + 1];
    size_t len = 0;
    for (ssize_t n; len < RECORD_MAX && (n = read(fd, text + len, RECORD_MAX - len)) != 0;) {
        if (n < 0 && errno != EINTR) return error_system(err, errno, "the record of sandbox %s", id);
        if (n > 0) len += (size_t)n;
    }
    bool ok = parse(text, len, id, r);
    explicit_bzero(text, sizeof text);
    return ok ? SBX_OK
              : error_set(err, SBX_ERROR_PROTOCOL,
                          "the record of sandbox %s is damaged: it can be ended, but not used", id);
}

uint64_t record_start_time(pid_t pid) {
    char path[40], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (n <= 0) return 0;
    text[n] = '\0';
    /* The second field is the name in brackets and may hold anything; the 22nd is the start time. */
    char *at = strrchr(text, ')');
    for (int field = 2; at != NULL && field < 22; field++)
        at = strchr(at + 1, ' ');
    return at != NULL ? strtoull(at + 1, NULL, 10) : 0;
}

static int keeper_by_number(const struct record *r) {
    int fd = local_spawn_pidfd(r->pid);
    /* Looked at after the descriptor was opened: the number can no longer pass to another process unnoticed.
     */
    bool same = testing_off("keeper-identity") || record_start_time(r->pid) == r->start_time;
    if (fd >= 0 && (!same || local_spawn_ended(fd, 0))) {
        close(fd);
        return -1;
    }
    return fd;
}

bool record_alive(int dir) {
    /* A cleaner holds the lock only for a moment, a keeper for long. */
    for (int tries = 0; tries < 20; tries++) {
        if (flock(dir, LOCK_EX | LOCK_NB) == 0) {
            flock(dir, LOCK_UN);
            return false;
        }
        if (errno != EWOULDBLOCK) return false;
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    }
    return true;
}

/* It made the socket, and holds the lock. */
static int keeper_by_socket(int dir, pid_t *pid) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct ucred peer;
    socklen_t len = sizeof peer;
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", dir, LOCAL_SOCKET);
    cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0 || peer.pid <= 0)
        return -1; /* 0: it is in another pid namespace */
    cleanup_fd int keeper = local_spawn_pidfd(peer.pid);
    /* It lives, and so did when the descriptor was opened: the number was its own. */
    if (keeper < 0 || !record_alive(dir)) return -1;
    *pid = peer.pid;
    return steal_fd(&keeper);
}

int record_keeper(int dir, struct record *r) {
    int fd = r->pid > 0 ? keeper_by_number(r) : -1;
    return fd >= 0 ? fd : keeper_by_socket(dir, &r->pid);
}

int64_t record_made_ms(int dir) {
    struct stat st;
    if (fstatat(dir, LOCAL_SOCKET, &st, AT_SYMLINK_NOFOLLOW) != 0 && fstat(dir, &st) != 0) return 0;
    return (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
}

bool record_clean(int runtime, const char *id) {
    cleanup_fd int dir = openat(runtime, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0) return errno == ENOENT;
    if (flock(dir, LOCK_EX | LOCK_NB) != 0) return false;
    /* Somebody faster may have removed it, and its name may stand for another one by now. */
    struct stat held, named;
    if (fstat(dir, &held) != 0 || fstatat(runtime, id, &named, AT_SYMLINK_NOFOLLOW) != 0 ||
        held.st_ino != named.st_ino || held.st_dev != named.st_dev)
        return true;
    return rmtree_contents(dir) && unlinkat(runtime, id, AT_REMOVEDIR) == 0;
}
