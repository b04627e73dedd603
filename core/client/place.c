#include "client/place.h"

#include <string.h>

unsigned place_room(const struct place *p) {
    unsigned used = p->live + p->pending;
    return p->ready && used < p->capacity ? p->capacity - used : 0;
}

static bool better(const struct place *a, const struct place *b, bool spread) {
    unsigned used = a->live + a->pending, other = b->live + b->pending;
    return spread ? used < other : used > other;
}

struct place *place_pick(struct place *list, bool spread) {
    struct place *best = NULL;
    for (struct place *p = list; p != NULL; p = p->next) {
        if (place_room(p) == 0 || p->posts >= PLACE_POSTS_MAX) continue;
        if (best == NULL || better(p, best, spread)) best = p;
    }
    return best;
}

unsigned place_share(const struct place *list, const struct place *place, bool spread, unsigned waiting) {
    unsigned share = place_room(place);
    if (waiting < share) share = waiting;
    if (!spread) return share;
    /* Up to one more than the next emptiest has. */
    unsigned own = place->live + place->pending;
    for (const struct place *p = list; p != NULL; p = p->next) {
        if (p == place || place_room(p) == 0) continue;
        unsigned used = p->live + p->pending;
        unsigned level = used > own ? used - own : 1;
        if (level < share) share = level;
    }
    return share;
}

unsigned place_lacking(const struct place *list, unsigned waiting) {
    for (const struct place *p = list; p != NULL; p = p->next) {
        unsigned room = p->ready ? place_room(p) : p->capacity;
        waiting -= room < waiting ? room : waiting;
    }
    return waiting;
}

unsigned place_wanted(const struct place *list, unsigned waiting, unsigned warm, unsigned per_host) {
    unsigned lacking = place_lacking(list, waiting), hosts = 0;
    unsigned wanted = lacking / per_host + (lacking % per_host != 0);
    for (const struct place *p = list; p != NULL; p = p->next)
        hosts++;
    unsigned cold = warm > hosts ? warm - hosts : 0;
    return wanted > cold ? wanted : cold;
}

bool place_older(const struct place_living *a, const struct place_living *b) {
    if (a->created_ms != b->created_ms) return a->created_ms < b->created_ms;
    return strcmp(a->id, b->id) < 0;
}
