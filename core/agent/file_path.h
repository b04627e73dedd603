/* Where a path of a request leads. Every name that comes from outside is resolved here and nowhere else, so
   with the sandbox's own identity (file_op.h) this is what keeps a path beneath its home. Paths are bytes
   without NUL. The calls
   below may block: workers only. */
#ifndef AGENT_FILE_PATH_H
#define AGENT_FILE_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#define FILE_NAME_SIZE 256 /* of one name, with its NUL */

struct sandbox;

struct file_path {
    char *text; /* absolute, NUL-terminated */
    size_t len;
    const struct sandbox *sandbox;
};

/* Relative paths begin where the sandbox's commands start. In host mode every path lies beneath the sandbox's
   home: "/" means the home, ".." leads no higher, and what begins with the home's own path is taken as it is.
   The sandbox must outlive the path. False: *why says what is wrong with it. */
bool file_path_init(struct file_path *p, const struct sandbox *sandbox, const char *bytes, size_t len,
                    const char **why);
void file_path_free(struct file_path *p);

/* The last name as it is shown to people; empty for "/" and for a path that ends in "..". */
const char *file_path_name(const struct file_path *p, size_t *len);

/* How much of the text is left without slashes and "." at its end: what to put before "/name". */
size_t file_path_trimmed(const struct file_path *p);

/* These return -1 with errno. */
int file_path_open(const struct file_path *p,
                   int flags); /* flags of open(2); O_CLOEXEC and O_NOCTTY are added */
int file_path_stat(const struct file_path *p, struct stat *st, bool follow);
int file_path_make(const struct file_path *p); /* the directory with its parents; fine when it is there */

/* An O_PATH descriptor of the directory that holds the last name, which is put into `name`. A path that has
   no last name ("/", "x/..") gives EINVAL. make: missing directories on the way are made. */
int file_path_parent(const struct file_path *p, bool make, char name[FILE_NAME_SIZE]);

/* The same for the file that is meant when the last name is a symbolic link: its target's directory and name,
   which need not exist. */
int file_path_target(const struct file_path *p, bool make, char name[FILE_NAME_SIZE]);

/* Takes the last name of a path apart from its directory, which is opened as above; path is changed and
   restored on the way. For file_beneath.c. */
int file_path_split(const struct sandbox *sandbox, int at, char *path, size_t len, bool make,
                    char name[FILE_NAME_SIZE]);

/* rename(2) between two directories; replace false: EEXIST when the name is taken. */
int file_path_rename(int from_dir, const char *from, int to_dir, const char *to, bool replace);

#endif
