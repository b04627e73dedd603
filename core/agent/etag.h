/* Entity tags, and the lock under which a write compares a tag and takes effect. */
#ifndef AGENT_ETAG_H
#define AGENT_ETAG_H

#include <stdbool.h>
#include <sys/stat.h>

#define ETAG_SIZE 96 /* of a tag as text, with quotes and NUL */

/* The strong tag of what st describes: "<dev>-<ino>-<size>-<mtime ns>-<ctime ns>", hex parts, quoted. */
void etag_format(const struct stat *st, char out[ETAG_SIZE]);

/* Files of /proc, /sys and their like change without their times: they have no tag. */
bool etag_exists(int fd);

/* Whether a request with these fields (NULL = absent) may go on. tag NULL: there is no such file; "": it has
 * no tag. */
bool etag_if_match(const char *field, const char *tag);
bool etag_if_none_match(const char *field, const char *tag);

/* Gives the open file a modification time that no other write of this agent has had. Two writes within one
   tick of the kernel's clock would otherwise look the same once the file system uses an inode number again.
 */
void etag_stamp(int fd);

/* Everything this agent does to one name of one directory happens under its lock: of two conditional writers
   only one can see the tag that it asks for. Commands inside the sandbox take no lock; between the comparison
   and the rename they can still get in. */
unsigned etag_place(const struct stat *directory, const char *name);
void etag_lock(unsigned place);
void etag_unlock(unsigned place);
void etag_lock_two(unsigned a, unsigned b); /* in an order that cannot deadlock; a may be b */
void etag_unlock_two(unsigned a, unsigned b);

#endif
