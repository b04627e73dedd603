/* Files and whole directories between this computer and a sandbox. Each function says what failed and gives
 * the exit code. */
#ifndef CLI_COPIES_H
#define CLI_COPIES_H

#include "session.h"

int copies_upload(struct session *s, sbx_sandbox *sandbox, const char *from, const char *to);
int copies_download(struct session *s, sbx_sandbox *sandbox, const char *from, const char *to);

int copies_upload_file(struct session *s, sbx_sandbox *sandbox, const char *from, const char *to, int mode);
int copies_download_file(struct session *s, sbx_sandbox *sandbox, const char *from, const char *to,
                         unsigned mode);

int copies_stat(struct session *s, sbx_sandbox *sandbox, const char *path, sbx_file_info *out);
bool copies_is_directory(struct session *s, sbx_sandbox *sandbox, const char *path); /* says nothing */

char *copies_join(const char *directory, const char *name, size_t len); /* name "" = a copy of directory */
bool copies_interrupted(void);

#endif
