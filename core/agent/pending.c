/* Stands in for parts that are not in the tree yet. */
#include "agent/route.h"

__attribute__((weak)) const struct route handle_files_routes[] = {{NULL, NULL, BODY_NONE, 0, NULL}};
__attribute__((weak)) const struct route handle_proxy_routes[] = {{NULL, NULL, BODY_NONE, 0, NULL}};
