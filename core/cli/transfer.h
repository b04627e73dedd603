/* Files and whole directories between this computer and a sandbox. Each function says what failed and gives
 * the exit code. */
#ifndef CLI_TRANSFER_H
#define CLI_TRANSFER_H

#include "session.h"

int transfer_upload(struct session *s, sbx_sandbox *sandbox, const char *from, const char *to);
int transfer_download(struct session *s, sbx_sandbox *sandbox, const char *from, const char *to);

int transfer_upload_file(struct session *s, sbx_sandbox *sandbox, const char *from, const char *to, int mode);
int transfer_download_file(struct session *s, sbx_sandbox *sandbox, const char *from, const char *to,
                           unsigned mode);

int transfer_stat(struct session *s, sbx_sandbox *sandbox, const char *path, sbx_file_info *out);
bool transfer_is_directory(struct session *s, sbx_sandbox *sandbox, const char *path); /* says nothing */

char *transfer_join(const char *directory, const char *name, size_t len); /* name "" = a copy of directory */
bool transfer_interrupted(void);

#endif
