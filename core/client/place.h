/* Room on the hosts of a pool: which of them gets the next sandbox, how many more are needed, and which of
   several that were booted at the same time stays. Pure. */
#ifndef CLIENT_PLACE_H
#define CLIENT_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLACE_POSTS_MAX                                                                                      \
    4 /* requests that make sandboxes, at one host at a time; what comes meanwhile shares the next one */

struct place { /* one host; a list in the order in which they came */
    struct place *next;
    bool ready;        /* else it is starting, and will have room for `capacity` */
    unsigned capacity; /* sandboxes that it carries */
    unsigned live;     /* that it has, as far as is known */
    unsigned pending;  /* asked for */
    unsigned posts;    /* by so many requests */
};

unsigned place_room(const struct place *place); /* now; of one that is starting: none */

/* The next sandbox's; NULL: none that has room can be asked now. */
struct place *place_pick(struct place *list, bool spread);
/* How many of `waiting` go there together. */
unsigned place_share(const struct place *list, const struct place *place, bool spread, unsigned waiting);

/* Of `waiting` those for which no room is there or coming. */
unsigned place_lacking(const struct place *list, unsigned waiting);
/* Hosts to boot for them, and for `warm` hosts altogether. */
unsigned place_wanted(const struct place *list, unsigned waiting, unsigned warm, unsigned per_host);

/* A host as the Hub lists it. Who looks at them, from wherever, finds them in the same order. */
struct place_living {
    const char *id;
    int64_t created_ms;
};
bool place_older(const struct place_living *a, const struct place_living *b);

#endif
