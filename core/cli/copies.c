#include "copies.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "exits.h"
#include "print.h"
#include "signals.h"

#define DEPTH                                                                                                \
    200 /* of directories in directories: a sandbox can make more of them than this program has stack for */

char *copies_join(const char *directory, const char *name, size_t len) {
    size_t size = strlen(directory);
    bool slash = len && size && directory[size - 1] != '/';
    char *path = print_allocate(size + slash + len + 1);
    memcpy(path, directory, size);
    if (slash) path[size] = '/';
    memcpy(path + size + slash, name, len);
    return path;
}

bool copies_interrupted(void) {
    return signals_received() != 0;
}

int copies_stat(struct session *s, sbx_sandbox *sandbox, const char *path, sbx_file_info *out) {
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_call(s, 0, &call);
    if (session_wait(s, sbx_file_stat(NULL, sandbox, path, &call, &err), &call, &done, &err) != SBX_OK)
        return session_failed(&err);
    *out = *done.file;
    session_release(&done);
    return 0;
}

bool copies_is_directory(struct session *s, sbx_sandbox *sandbox, const char *path) {
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_call(s, 0, &call);
    if (session_wait(s, sbx_file_stat(NULL, sandbox, path, &call, &err), &call, &done, &err) != SBX_OK)
        return false;
    bool directory = done.file->type == SBX_FILE_DIRECTORY;
    session_release(&done);
    return directory;
}

int copies_upload_file(struct session *s, sbx_sandbox *sandbox, const char *from, const char *to, int mode) {
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_call(s, 0, &call);
    sbx_write_options options = {SBX_WRITE_OPTIONS_INIT, .mode = mode};
    sbx_status started = sbx_file_upload(sandbox, from, to, &options, &call, &err);
    return session_wait(s, started, &call, &done, &err) < 0 ? session_failed(&err) : 0;
}

int copies_download_file(struct session *s, sbx_sandbox *sandbox, const char *from, const char *to,
                         unsigned mode) {
    struct stat st;
    bool fresh = stat(to, &st) < 0;
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_call(s, 0, &call);
    sbx_status started = sbx_file_download(sandbox, from, to, &call, &err);
    if (session_wait(s, started, &call, &done, &err) < 0) return session_failed(&err);
    if (!fresh) return 0;
    mode_t mask = umask(0);
    umask(mask);
    if (chmod(to, mode & 0777 & ~mask) == 0)
        return 0; /* never set-user-id: the sandbox does not choose who runs as whom here */
    print_error("%s: cannot set its mode: %s", to, strerror(errno));
    return EXITS_FAILED;
}

static int make_remote(struct session *s, sbx_sandbox *sandbox, const char *path) {
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_call(s, 0, &call);
    return session_wait(s, sbx_file_mkdir(sandbox, path, &call, &err), &call, &done, &err) < 0
               ? session_failed(&err)
               : 0;
}

static int upload_entry(struct session *s, sbx_sandbox *sandbox, const char *from, const char *to, int depth);

static int upload_entries(struct session *s, sbx_sandbox *sandbox, const char *from, const char *to,
                          int depth) {
    if (depth > DEPTH) {
        print_error("%s: more than %d directories deep", from, DEPTH);
        return EXITS_FAILED;
    }
    int code = make_remote(s, sandbox, to);
    if (code) return code;
    struct dirent **entries;
    int count = scandir(from, &entries, NULL, alphasort);
    if (count < 0) {
        print_error("%s: %s", from, strerror(errno));
        return EXITS_FAILED;
    }
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        if (!code && strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
            char *source = copies_join(from, name, strlen(name)),
                 *target = copies_join(to, name, strlen(name));
            code = copies_interrupted() ? EXITS_FAILED : upload_entry(s, sandbox, source, target, depth);
            free(source);
            free(target);
        }
        free(entries[i]);
    }
    free(entries);
    return code;
}

/* A link may lead anywhere: what is copied in is the directory that was named, and nothing else of this
 * computer. */
static int upload_entry(struct session *s, sbx_sandbox *sandbox, const char *from, const char *to,
                        int depth) {
    struct stat st;
    if (lstat(from, &st) < 0) {
        print_error("%s: %s", from, strerror(errno));
        return EXITS_FAILED;
    }
    if (S_ISDIR(st.st_mode)) return upload_entries(s, sandbox, from, to, depth + 1);
    if (S_ISREG(st.st_mode)) return copies_upload_file(s, sandbox, from, to, (int)(st.st_mode & 0777));
    print_error("%s is left out: it is %s", from,
                S_ISLNK(st.st_mode) ? "a symbolic link" : "no file or directory");
    return 0;
}

int copies_upload(struct session *s, sbx_sandbox *sandbox, const char *from, const char *to) {
    return upload_entries(s, sandbox, from, to, 0);
}

static int download_entries(struct session *s, sbx_sandbox *sandbox, const char *from, const char *to,
                            int depth);

static int download_entry(struct session *s, sbx_sandbox *sandbox, const sbx_file_info *file,
                          const char *from, const char *to, int depth) {
    /* A name is data from inside: one that would leave the directory is refused. */
    if (!file->name[0] || strchr(file->name, '/') || strcmp(file->name, ".") == 0 ||
        strcmp(file->name, "..") == 0) {
        print_error("%s has an entry '%s', which is no name of a file", from, file->name);
        return EXITS_FAILED;
    }
    size_t len = strlen(file->name);
    char *source = copies_join(from, file->name, len), *target = copies_join(to, file->name, len);
    int code = 0;
    if (file->type == SBX_FILE_DIRECTORY) {
        code = download_entries(s, sandbox, source, target, depth + 1);
    } else if (file->type == SBX_FILE_SYMLINK) {
        print_error("%s is left out: it is a symbolic link", source);
    } else {
        code = copies_download_file(s, sandbox, source, target, file->mode);
    }
    free(source);
    free(target);
    return code;
}

static int download_entries(struct session *s, sbx_sandbox *sandbox, const char *from, const char *to,
                            int depth) {
    struct stat st;
    if (depth > DEPTH) {
        print_error("%s: more than %d directories deep", from, DEPTH);
        return EXITS_FAILED;
    }
    if (mkdir(to, 0777) < 0 && (errno != EEXIST || stat(to, &st) < 0 || !S_ISDIR(st.st_mode))) {
        print_error("cannot make the directory %s: %s", to, strerror(errno));
        return EXITS_FAILED;
    }
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_call(s, 0, &call);
    if (session_wait(s, sbx_file_list_all(NULL, sandbox, from, &call, &err), &call, &done, &err) != SBX_OK)
        return session_failed(&err);
    int code = 0;
    for (size_t i = 0; !code && i < sbx_file_list_count(done.files); i++) {
        code = copies_interrupted()
                   ? EXITS_FAILED
                   : download_entry(s, sandbox, sbx_file_list_get(done.files, i), from, to, depth);
    }
    session_release(&done);
    return code;
}

int copies_download(struct session *s, sbx_sandbox *sandbox, const char *from, const char *to) {
    return download_entries(s, sandbox, from, to, 0);
}
