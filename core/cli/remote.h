/* A place in a sandbox as it is written on the command line: ID:path. */
#ifndef CLI_REMOTE_H
#define CLI_REMOTE_H

#include <stdbool.h>

struct remote {
    char *id;
    const char *path; /* points into the text; "." when nothing follows the colon */
};

bool remote_parse(struct remote *out, const char *text); /* false: the text is a path of this computer */
void remote_free(struct remote *place);

#endif
