#include "client/payload.h"

#include <string.h>

const struct payload *payload_find(const char *arch, bool host) {
    for (const struct payload *p = payload_table; p->arch != NULL; p++)
        if (p->host == host && strcmp(p->arch, arch) == 0) return p;
    return NULL;
}
