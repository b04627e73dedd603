/* Client keys, "<name>.<number>": a request that carries one is carried out at most once. What is remembered
   maps to the caller's value; what was remembered and forgotten again is never carried out, for which one
   number a name suffices. */
#ifndef AGENT_KEYS_H
#define AGENT_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEYS_NAMES_MAX 65536
#define KEYS_NAME_KEEP                                                                                       \
    (60 * 60 * 1000) /* a name that has been silent for that long may make room for a new one */

struct key_name;

/* All that is remembered; zero-initialise. */
struct keys {
    struct key_name **table; /* NULL = nothing yet */
    size_t names;
};

/* Embedded in what the key stands for; zero-initialise. */
struct key {
    struct key *next;
    struct key_name *name; /* NULL while not remembered */
    uint64_t number;
};

enum key_state {
    KEY_NEW,       /* not seen: carry it out, then keys_remember */
    KEY_KNOWN,     /* *found is what it stands for */
    KEY_FORGOTTEN, /* at or below a forgotten number */
    KEY_MALFORMED,
    KEY_FULL /* too many names */
};

enum key_state keys_find(struct keys *keys, const char *text, int64_t now_ms, struct key **found);
/* After KEY_NEW for the same text; false: no memory. */
bool keys_remember(struct keys *keys, struct key *k, const char *text);
void keys_forget(struct key *k);   /* no effect when not remembered */
void keys_undo(struct key *k);     /* it was not carried out after all: as if never seen */
void keys_free(struct keys *keys); /* when none of its keys is remembered any more */

#endif
