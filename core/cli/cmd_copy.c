#include "cmd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "exits.h"
#include "print.h"
#include "remote.h"
#include "copies.h"

#define PIECE ((uint64_t)8 << 20)

static const char *base_name(const char *path, size_t *len) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin && path[begin - 1] != '/')
        begin--;
    *len = end - begin;
    return path + begin;
}

/* Where a copy goes: into `to` under its own name when `to` is a directory, else to `to` itself. */
static char *destination(const char *to, bool directory, const char *from) {
    size_t len;
    const char *name = base_name(from, &len);
    bool slash = *to && to[strlen(to) - 1] == '/';
    if (!directory && !slash) return copies_join(to, "", 0);
    if ((len == 1 && *name == '.') || (len == 2 && memcmp(name, "..", 2) == 0) || *name == '/')
        return copies_join(to, "", 0);
    return copies_join(to, name, len);
}

/* Standard input as a file that has no name any more. */
static int spool_input(void) {
    const char *dir = getenv("TMPDIR");
    char *path = copies_join(dir && *dir ? dir : "/tmp", "hfsandbox-XXXXXX", 16);
    int fd = mkstemp(path);
    if (fd < 0) {
        print_error("cannot make a temporary file %s: %s; TMPDIR chooses another place", path,
                    strerror(errno));
    }
    if (fd >= 0) unlink(path);
    free(path);
    static char piece[65536];
    while (fd >= 0) {
        ssize_t len = read(STDIN_FILENO, piece, sizeof piece);
        if (len == 0) return fd;
        if (len > 0 && print_bytes(fd, piece, (size_t)len)) continue;
        if (len < 0 && errno == EINTR && !copies_interrupted()) continue;
        if (!copies_interrupted())
            print_error("cannot keep standard input in a temporary file: %s", strerror(errno));
        close(fd);
        fd = -1;
    }
    return fd;
}

static int upload_input(struct session *s, sbx_sandbox *sandbox, const char *path) {
    int fd = spool_input();
    if (fd < 0) return EXITS_FAILED;
    char name[32];
    snprintf(name, sizeof name, "/dev/fd/%d", fd);
    int code = copies_upload_file(s, sandbox, name, path, 0);
    close(fd);
    return code;
}

/* A file piece by piece to standard output; that it stayed the same meanwhile is checked at the end. */
static int download_output(struct session *s, sbx_sandbox *sandbox, const char *path) {
    char before[sizeof((sbx_file_info *)0)->etag] = "";
    sbx_file_info file;
    uint64_t offset = 0;
    int code = copies_stat(s, sandbox, path, &file);
    if (code) return code;
    strcpy(before, file.etag);
    for (;;) {
        sbx_error err;
        sbx_completion done;
        sbx_call call = session_call(s, 0, &call);
        sbx_status status = session_wait(s, sbx_file_read(NULL, sandbox, path, offset, PIECE, &call, &err),
                                         &call, &done, &err);
        if (status != SBX_OK) return session_failed(&err);
        size_t len = sbx_bytes_size(done.bytes);
        code = print_bytes(STDOUT_FILENO, sbx_bytes_data(done.bytes), len) ? 0 : print_failed(errno);
        session_release(&done);
        if (code) return code;
        offset += len;
        if (len < PIECE) break;
    }
    if (offset <= PIECE) return 0; /* read in one piece */
    code = copies_stat(s, sandbox, path, &file);
    if (!code && strcmp(before, file.etag) != 0) {
        print_error("%s changed while it was copied: what was written may be part old and part new", path);
        code = EXITS_FAILED;
    }
    return code;
}

static int upload(struct session *s, sbx_sandbox *sandbox, const struct options *o, const char *from,
                  const char *to) {
    if (strcmp(from, "-") == 0) return upload_input(s, sandbox, to);
    struct stat st;
    if (stat(from, &st) < 0) {
        print_error("%s: %s", from, strerror(errno));
        return EXITS_FAILED;
    }
    if (S_ISDIR(st.st_mode) && !o->recursive) {
        print_error("%s is a directory: copy it with -r", from);
        return EXITS_FAILED;
    }
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) {
        print_error("%s is no regular file; a stream can be copied with - and a pipe", from);
        return EXITS_FAILED;
    }
    char *target = destination(to, copies_is_directory(s, sandbox, to), from);
    int code = S_ISDIR(st.st_mode) ? copies_upload(s, sandbox, from, target)
                                   : copies_upload_file(s, sandbox, from, target, (int)(st.st_mode & 0777));
    free(target);
    return code;
}

static int download(struct session *s, sbx_sandbox *sandbox, const struct options *o, const char *from,
                    const char *to) {
    if (strcmp(to, "-") == 0) return download_output(s, sandbox, from);
    sbx_file_info file;
    struct stat st;
    int code = copies_stat(s, sandbox, from, &file);
    if (code) return code;
    if (file.type == SBX_FILE_DIRECTORY && !o->recursive) {
        print_error("%s is a directory: copy it with -r", from);
        return EXITS_FAILED;
    }
    char *target = destination(to, stat(to, &st) == 0 && S_ISDIR(st.st_mode), from);
    code = file.type == SBX_FILE_DIRECTORY ? copies_download(s, sandbox, from, target)
                                           : copies_download_file(s, sandbox, from, target, file.mode);
    free(target);
    return code;
}

int cmd_copy(struct session *s, const struct options *o) {
    struct remote from, to;
    bool is_from = remote_parse(&from, o->operands[0]), is_to = remote_parse(&to, o->operands[1]);
    int code = EXITS_FAILED;
    if (is_from == is_to) {
        print_error(is_from ? "both %s and %s are in a sandbox: copy through this computer, in two steps"
                            : "neither %s nor %s is in a sandbox: one is written ID:path",
                    o->operands[0], o->operands[1]);
    } else {
        sbx_sandbox *sandbox = session_connect(s, is_from ? from.id : to.id);
        if (sandbox) {
            code = is_from ? download(s, sandbox, o, from.path, o->operands[1])
                           : upload(s, sandbox, o, o->operands[0], to.path);
        }
        sbx_sandbox_free(sandbox);
    }
    remote_free(&from);
    remote_free(&to);
    return code;
}
