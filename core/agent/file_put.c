#include "agent/file_put.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "util/testing.h"
#include "util/text.h"
#include "wire/limits.h"

/* Why nothing is fsynced: the files must survive the agent, not the machine. Every process sees the rename
   and the bytes in order without it, and after a power cut there is no sandbox left that could read them. */

#define PREALLOCATE_FROM MIB(1)

/* What stands at the name now: 0, ENOENT, or another error. A file that cannot be written to is one. */
static int look(const struct file_put *p, struct stat *st) {
    if (fstatat(p->directory, p->name, st, AT_SYMLINK_NOFOLLOW) != 0) return errno;
    if (S_ISDIR(st->st_mode)) return EISDIR;
    return 0;
}

static bool check_conditions(const struct file_put *p, const struct stat *st, bool there,
                             struct file_error *e) {
    char tag[ETAG_SIZE];
    if (there) etag_format(st, tag);
    const char *now = there ? tag : NULL;
    if (etag_if_match(p->if_match, now) && etag_if_none_match(p->if_none_match, now)) return true;
    return file_op_fail_code(e, WIRE_MISMATCH, "it is %s now", there ? tag : "absent");
}

/* The name as it is now, and whether a write to it may go on. */
static bool check_target(const struct file_put *p, struct stat *st, bool *there, struct file_error *e) {
    int error = look(p, st);
    *there = error == 0;
    if (error != 0 && error != ENOENT) return file_op_fail(e, error);
    if (*there && !S_ISREG(st->st_mode) && !S_ISLNK(st->st_mode) && !testing_off("files-regular"))
        return file_op_fail_as(e, WIRE_NOT_REGULAR);
    return check_conditions(p, st, *there, e);
}

static bool random_name(struct file_put *p) {
    char hex[25];
    if (!text_random_hex(12, hex)) return false;
    text_format(p->temporary, sizeof p->temporary, ".sbx-%s", hex);
    return true;
}

/* A file without a name vanishes by itself when the agent is killed in the middle of a long upload. Where the
   file system has none (or /proc, through which it gets its name, is missing) a hidden name has to do. */
static int open_temporary(struct file_put *p) {
    int fd = -1;
    if (p->part[0] != '\0')
        return openat(p->directory, p->part, O_RDWR | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC);
    if (access("/proc/self/fd", X_OK) == 0)
        fd = openat(p->directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0) return fd;
    if (!random_name(p)) return -1;
    fd = openat(p->directory, p->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) p->temporary[0] = '\0';
    return fd;
}

/* Says "no space" before the bytes travel rather than after. What surely does not fit is refused first:
   fallocate would fill the disk up to its end before it fails. On tmpfs it would fill the space with zeros,
   which costs as much as the write itself. */
static bool set_space_aside(struct file_put *p, struct file_error *e) {
    struct statfs fs;
    if (fstatfs(p->fd, &fs) != 0) return true;
    /* A file that others can open may be locked by a write of theirs that never ends. */
    bool own = (!p->in_place && p->temporary[0] == '\0') || testing_off("files-own");
    p->in_memory = own && fs.f_type == TMPFS_MAGIC && !testing_off("files-in-memory");
    if (p->in_place || p->expected < (int64_t)PREALLOCATE_FROM || testing_off("files-space")) return true;
    /* A tmpfs without a limit says 0 blocks. */
    bool fits = fs.f_blocks == 0 || (uint64_t)fs.f_bfree * (uint64_t)fs.f_bsize >= (uint64_t)p->expected;
    if (!fits) return file_op_fail(e, ENOSPC);
    if (fs.f_type == TMPFS_MAGIC || fallocate(p->fd, FALLOC_FL_KEEP_SIZE, 0, p->expected) == 0) return true;
    return (errno != ENOSPC && errno != EFBIG && errno != EDQUOT) || file_op_fail(e, errno);
}

/* A ranged write that carries a mode may come after another range has already given the file that mode, for
   example 0444. Its owner may write to it all the same. */
static int open_read_only(const struct file_put *p, const struct stat *st) {
    if (!p->mode_given || syscall(SYS_fchmodat, p->directory, p->name, (st->st_mode & 07777) | 0200) != 0) {
        errno = EACCES;
        return -1;
    }
    return openat(p->directory, p->name, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC);
}

static bool open_in_place(struct file_put *p, const struct stat *st, bool there, struct file_error *e) {
    p->fd = openat(p->directory, p->name, O_WRONLY | O_CREAT | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC,
                   0600);
    if (p->fd < 0 && errno == EACCES && there) p->fd = open_read_only(p, st);
    struct stat now;
    if (p->fd < 0 || fstat(p->fd, &now) != 0) return file_op_fail(e, errno);
    p->begun = p->part[0] != '\0' && !there;
    return S_ISREG(now.st_mode) || file_op_fail_as(e, WIRE_NOT_REGULAR);
}

static bool open_whole(struct file_put *p, bool there, struct file_error *e) {
    if (testing_off("files-atomic")) {
        p->in_place = true;
        p->fd = openat(p->directory, p->name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    } else {
        p->fd = open_temporary(p);
        bool made = p->part[0] == '\0';
        if (p->fd < 0 && there && made && errno == ENOENT) errno = EPERM; /* in /proc nothing can be made */
    }
    return p->fd >= 0 || file_op_fail(e, errno);
}

static void lock(struct file_put *p) {
    if (!p->locked) etag_lock(p->place);
    p->locked = true;
}

void file_put_unlock(struct file_put *p) {
    if (p->locked) etag_unlock(p->place);
    p->locked = false;
}

bool file_put_open(struct file_put *p, const struct file_path *path, struct file_error *e) {
    p->directory = file_path_target(path, p->parents, p->name);
    /* "/", "x/." and "x/.." have no last name because they are directories. */
    if (p->directory < 0) return file_op_fail(e, errno == EINVAL ? EISDIR : errno);
    if (path->text[path->len - 1] == '/') return file_op_fail(e, EISDIR);
    struct stat directory, st;
    if (fstat(p->directory, &directory) != 0) return file_op_fail(e, errno);
    if (p->part[0] != '\0') memcpy(p->in_place ? p->name : p->temporary, p->part, sizeof p->part);
    p->place = etag_place(&directory, p->name);

    lock(p);
    bool there;
    bool ok = check_target(p, &st, &there, e);
    if (ok)
        ok = (p->in_place ? open_in_place(p, &st, there, e) : open_whole(p, there, e)) &&
             set_space_aside(p, e);
    if (!p->at_once) file_put_unlock(p);
    return ok;
}

bool file_put_write(struct file_put *p, const char *data, size_t len, struct file_error *e) {
    while (len > 0) {
        uint64_t at = p->offset + p->size;
        if (at > INT64_MAX - len) return file_op_fail(e, EFBIG);
        ssize_t written = pwrite(p->fd, data, len, (off_t)at);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return file_op_fail(e, errno);
        data += written;
        len -= (size_t)written;
        p->size += (uint64_t)written;
    }
    return true;
}

/* The new file looks like the one it replaces. Where the owner cannot be kept, neither are the bits that lend
 * his rights to others. */
static bool dress(const struct file_put *p, const struct stat *old, struct file_error *e) {
    unsigned mode = p->mode_given ? p->mode : old != NULL ? old->st_mode & 07777 : 0600;
    struct stat own;
    if (fstat(p->fd, &own) != 0) return file_op_fail(e, errno);
    if (old != NULL && (own.st_uid != old->st_uid || own.st_gid != old->st_gid) &&
        fchown(p->fd, old->st_uid, old->st_gid) != 0 && !p->mode_given)
        mode &= 01777;
    return fchmod(p->fd, mode) == 0 || file_op_fail(e, errno);
}

/* Gives the file without a name the name `to`. */
static int link_unnamed(const struct file_put *p, const char *to) {
    char self[40];
    text_format(self, sizeof self, "/proc/self/fd/%d", p->fd);
    return linkat(AT_FDCWD, self, p->directory, to, AT_SYMLINK_FOLLOW);
}

static bool refused(struct file_error *e) {
    if (errno == EEXIST) return file_op_fail_code(e, WIRE_MISMATCH, "it has just appeared");
    if (errno != EBUSY) return file_op_fail(e, errno);
    return file_op_fail_code(e, WIRE_CONFLICT,
                             "it is a mount point: write into it with offset=0 and truncate_to=SIZE");
}

/* Puts the finished file at its name. */
static bool put_in_place(struct file_put *p, bool there, struct file_error *e) {
    /* Nothing is there, so a link says by itself whether that is still so; a command that was faster is
       replaced below, unless the writer asked for an absent file. */
    if (!there && p->temporary[0] == '\0') {
        if (link_unnamed(p, p->name) == 0) return true;
        if (errno != EEXIST) return file_op_fail(e, errno);
        if (p->if_none_match != NULL) return refused(e);
    }
    if (p->temporary[0] == '\0') {
        if (!random_name(p)) return file_op_fail(e, EIO);
        if (link_unnamed(p, p->temporary) != 0) {
            p->temporary[0] = '\0';
            return file_op_fail(e, errno);
        }
    }
    bool replace = there || p->if_none_match == NULL;
    if (file_path_rename(p->directory, p->temporary, p->directory, p->name, replace) != 0) return refused(e);
    p->temporary[0] = '\0';
    return true;
}

static bool commit_in_place(const struct file_put *p, struct file_error *e) {
    if (p->truncate && !testing_off("files-truncate") && ftruncate(p->fd, (off_t)p->truncate_to) != 0)
        return file_op_fail(e, errno);
    if (p->mode_given && fchmod(p->fd, p->mode) != 0) return file_op_fail(e, errno);
    etag_stamp(p->fd);
    return true;
}

static bool commit_whole(struct file_put *p, struct file_error *e) {
    struct stat old;
    bool there;
    if (p->truncate && ftruncate(p->fd, (off_t)p->truncate_to) != 0) return file_op_fail(e, errno);
    etag_stamp(p->fd);
    return check_target(p, &old, &there, e) && dress(p, there && S_ISREG(old.st_mode) ? &old : NULL, e) &&
           put_in_place(p, there, e);
}

bool file_put_commit(struct file_put *p, char tag[ETAG_SIZE], struct file_error *e) {
    lock(p);
    bool ok = p->in_place ? commit_in_place(p, e) : commit_whole(p, e);
    struct stat st;
    tag[0] = '\0';
    if (ok && etag_exists(p->fd) && fstat(p->fd, &st) == 0) etag_format(&st, tag);
    file_put_unlock(p);
    return ok;
}

void file_put_drop(struct file_put *p) {
    if (p->temporary[0] != '\0') unlinkat(p->directory, p->temporary, 0);
    if (p->fd >= 0) close(p->fd);
    p->fd = -1;
    p->temporary[0] = '\0';
    if (p->begun) return;
    if (p->directory >= 0) close(p->directory);
    p->directory = -1;
}
