// links: agent/creation.c agent/json_in.c agent/escape.c agent/keys.c
/* Bodies that ask for sandboxes: what is taken is within the limits, what is refused says why and leaves
 * nothing. */
#include "agent/confine_host.h"
#include "agent/creation.h"
#include "agent/workers.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/limits.h"

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) abort();                                                                           \
    } while (0)

/* What carrying it out would need. */
struct sandbox sandbox_machine = {.id = ""};
int64_t loop_now(void) {
    return 0;
}
void loop_later(struct later *l, void (*run)(struct later *)) {
    (void)l;
    (void)run;
    abort();
}
void loop_unlater(struct later *l) {
    (void)l;
}
void workers_submit(struct job *j) {
    (void)j;
    abort();
}
struct tenant *tenant_new(char *const *env, const struct limits *limits, int64_t idle_ms, bool *full) {
    (void)env;
    (void)limits;
    (void)idle_ms;
    (void)full;
    abort();
}
int tenant_make_home(struct tenant *t) {
    (void)t;
    abort();
}
void tenant_made(struct tenant *t) {
    (void)t;
    abort();
}
void tenant_end(struct tenant *t, struct tenant_waiter *w) {
    (void)t;
    (void)w;
    abort();
}
struct tenant *tenant_find(const char *id, size_t len) {
    (void)id;
    (void)len;
    return NULL;
}
const char *confine_host_name(void) {
    return "landlock";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct creation_request r = {.count = 0};
    char why[256] = "";
    if (!creation_parse((const char *)data, size, &r, why)) {
        MUST(why[0] != '\0' && memchr(why, '\0', sizeof why) != NULL && r.env == NULL);
        return 0;
    }
    MUST(r.count >= 1 && r.count <= CREATION_MOST && r.idle_ms >= -1);
    MUST(r.limits.processes >= 1 && r.limits.processes <= CREATION_PROCESSES);
    MUST(r.limits.memory >= MIB(1) && r.limits.memory <= (uint64_t)CREATION_MEMORY_MB << 20);
    size_t bytes = 0;
    for (char **e = r.env; *e != NULL; e++) {
        MUST(strchr(*e, '=') != NULL && (*e)[0] != '=');
        bytes += strlen(*e);
    }
    MUST(bytes <= KIB(64));
    creation_request_free(&r);
    return 0;
}
