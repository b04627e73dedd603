/* What the files functions share: their beginning, their targets, entries as structs, files of this computer.
 */
#ifndef CLIENT_FILES_H
#define CLIENT_FILES_H

#include "client/op.h"
#include "hfsandbox/hfsandbox.h"
#include "util/buf.h"

struct json;

/* A large file travels to and from a sandbox that is far away in parts, over several connections: one alone
   carries a few MiB a second at best. */
#define FILES_STREAMS 16
uint64_t files_part(uint64_t size); /* of a file of that size */

/* Checks the handle and the path and begins the op: the lock is held on SBX_OK. */
sbx_status files_begin(struct op **out, sbx_sandbox *sandbox, const char *name, const char *path,
                       const sbx_call *call, int64_t default_timeout_ms, sbx_error *err);

bool files_has_queue(const sbx_call *call); /* call may be NULL */

/* "files/<route>?path=<path>", for more queries to be added. */
struct buf files_target(const char *route, const char *path);

/* What a peer says of a file. `name` (its bytes) may be NULL: that of the entry. False: no such entry. */
bool files_info(sbx_file_info *out, const struct json *entry, const char *name);

/* An error about a file of this computer. */
sbx_status files_local_error(sbx_error *err, int error_number, const char *function, const char *path);

#endif
