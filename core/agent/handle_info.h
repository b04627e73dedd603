/* The answer to GET info, about the machine, a host or one of its sandboxes. */
#ifndef AGENT_HANDLE_INFO_H
#define AGENT_HANDLE_INFO_H

#include <stddef.h>
#include <stdint.h>

#include "agent/confine.h"
#include "agent/conn.h"
#include "agent/watch.h"
#include "wire/names.h"

#define HANDLE_INFO_FEATURES                                                                                 \
    "[\"" FEATURE_KEYS "\",\"" FEATURE_FRAMES "\",\"" FEATURE_PROCESS "\",\"" FEATURE_FILES                  \
    "\",\"" FEATURE_PARTS "\"]"

struct info_facts {
    const struct limits *limits;
    const struct watch_usage *usage;
    int64_t idle_ms, began_ms;
    size_t running, finished; /* commands */
    const char *more;         /* members of the object, each after a comma */
};

/* What waits for the usage; then `answer` is called. NULL: an error was answered. */
struct watch_waiter *handle_info_begin(struct exchange *x,
                                       void (*answer)(struct exchange *x, const struct watch_usage *u));
void handle_info_answer(struct exchange *x, const struct info_facts *f);

const char *handle_info_mode(void); /* "host" or "dedicated" */

#endif
