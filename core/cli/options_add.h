/* Options that may be given more than once. False: what is wrong has been said; never the value of a
 * variable. */
#ifndef CLI_OPTIONS_ADD_H
#define CLI_OPTIONS_ADD_H

#include "options.h"

bool options_add_text(struct options_list *list, const char *text);
bool options_add_pair(struct options_list *list, const char *name, const char *value); /* NAME[=VALUE] */
bool options_add_bind(struct options *o, const char *name, const char *value, bool writable);
bool options_add_port(struct options *o, const char *value);
void options_add_free(struct options_list *list);

#endif
