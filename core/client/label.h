/* Labels of jobs, and how the image decides their automatic name. Pure. */
#ifndef CLIENT_LABEL_H
#define CLIENT_LABEL_H

#include <stdbool.h>

#include "hfsandbox/hfsandbox.h"

#define LABEL_MAX 100 /* characters of a key, and of a value */

/* "key=value": both of [A-Za-z0-9_-] alone, because the Hub has refused '.' in places; keys that begin with
   "hf-sandbox" are the library's own. */
sbx_status label_check(const char *label, sbx_error *err);

/* Whether the image names a Space, by the four prefixes that the Hub's client knows; *space points behind it.
 */
bool label_image_is_space(const char *image, const char **space);

/* The `name` label that the Hub's client gives such a job: it is the same for the same image, as the caller
   wrote it, and the same NULL-terminated argv. Unlike there it is cut to LABEL_MAX, in front of the hash. */
void label_name(char out[128], const char *image_or_space, bool space, const char *const *argv);

#endif
