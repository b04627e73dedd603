/* One request for sandboxes of host mode, from its body to its answer; with a client key it is carried out
   once, however often it is sent, and remembered. */
#ifndef AGENT_CREATION_H
#define AGENT_CREATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/keys.h"
#include "agent/tenant.h"
#include "util/buf.h"

#define CREATION_MOST      4096 /* sandboxes of one request */
#define CREATION_PROCESSES 4096
#define CREATION_MEMORY_MB 1048576
#define CREATION_DISK_MB   1048576

struct creation_request {
    size_t count;
    char **env; /* NULL-terminated */
    struct limits limits;
    int64_t idle_ms; /* -1 = never */
};

/* False: *why says what is wrong; nothing is left to free. */
bool creation_parse(const char *body, size_t len, struct creation_request *out, char why[256]);
void creation_request_free(struct creation_request *r);

struct creation;

struct creation_waiter {
    struct creation_waiter *next;
    void (*made)(struct creation_waiter *w, const struct creation *c);
};

/* Begins it; key NULL = none. NULL: no memory. Without a key it is undone when nobody waits any more before
 * it is complete. */
struct creation *creation_start(const struct creation_request *r, const char *key);
struct creation *creation_of_key(struct key *k);
void creation_wait(struct creation *c,
                   struct creation_waiter *w); /* told at once, later in this turn, or when it is complete */
void creation_unwait(struct creation *c, struct creation_waiter *w);

/* What became of it: an errno, 0 with the sandboxes of it that still live and how many found no place. */
int creation_error(const struct creation *c);
bool creation_json(const struct creation *c, struct buf *out);

#endif
