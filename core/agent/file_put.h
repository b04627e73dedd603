/* A file being written: whole, in a file without a name that takes its place at the end, or in place from an
   offset. Workers only, but for writes to a file `in_memory`. */
#ifndef AGENT_FILE_PUT_H
#define AGENT_FILE_PUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/etag.h"
#include "agent/file_op.h"
#include "agent/file_path.h"

struct file_put {
    /* What is wanted */
    bool parents;  /* make missing directories */
    bool in_place; /* write from `offset` into the file, which is made when missing */
    uint64_t offset;
    bool truncate; /* give it this length at the end */
    uint64_t truncate_to;
    bool mode_given; /* else: an existing file's own, or 0600 */
    unsigned mode;
    char part[40]; /* a write in parts: the name of its unfinished file, beside its place; "" = none. In place
                      from an offset: into that file; else: that file is what is put in place. */
    char *if_match, *if_none_match; /* fields of the request, or NULL */
    int64_t expected;               /* how many bytes will come; -1 = unknown */
    bool
        at_once; /* the name stays locked from file_put_open to file_put_commit or file_put_unlock: one job */

    /* State; fd and directory are -1 before file_put_open */
    int fd;
    int directory;
    bool in_memory; /* on a file system without a disk, and nobody else has it: writing waits for nothing */
    unsigned place; /* etag_place of directory and name */
    bool locked;
    bool begun; /* the unfinished file of a write in parts was made: the directory stays open, for file_left.c
                 */
    char name[FILE_NAME_SIZE];
    char temporary[40]; /* name of the unfinished file; "" while it has none */
    uint64_t size;      /* bytes written so far */
};

/* Each returns false with *e filled. After a failure only file_put_drop may follow. */
bool file_put_open(struct file_put *p, const struct file_path *path, struct file_error *e);
bool file_put_write(struct file_put *p, const char *data, size_t len, struct file_error *e);
bool file_put_commit(struct file_put *p, char tag[ETAG_SIZE], struct file_error *e);

/* What an at_once job ends with, whatever happened. Harmless otherwise. */
void file_put_unlock(struct file_put *p);

/* Closes, and removes what is unfinished. Harmless after a commit. */
void file_put_drop(struct file_put *p);

#endif
