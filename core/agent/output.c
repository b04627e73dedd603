#include "agent/output.h"

#include <stdlib.h>
#include <string.h>

#define GROWTH   4
#define SMALLEST 64

void output_init(struct output *o, struct output_pool *pool, size_t max) {
    memset(o, 0, sizeof *o);
    o->pool = pool;
    o->max = max;
}

static void account(struct output_pool *pool, size_t more, size_t less) {
    for (; pool != NULL; pool = pool->parent)
        pool->used += more - less;
}

static void link_in(struct output *o) {
    o->prev = NULL;
    o->next = o->pool->first;
    if (o->next != NULL) o->next->prev = o;
    o->pool->first = o;
}

static void unlink_from(struct output *o) {
    if (o->prev != NULL)
        o->prev->next = o->next;
    else
        o->pool->first = o->next;
    if (o->next != NULL) o->next->prev = o->prev;
}

/* The oldest byte that an attached reader still needs. */
static uint64_t needed(const struct output *o) {
    uint64_t floor = o->end;
    for (const struct output_reader *r = o->readers; r != NULL; r = r->next)
        if (r->pos < floor) floor = r->pos;
    return floor;
}

static void drop_until(struct output *o, uint64_t start) {
    if (start <= o->start) return;
    uint64_t unseen = o->seen > o->start ? o->seen : o->start;
    if (start > unseen) o->dropped += start - unseen;
    o->start = start;
}

void output_discard(struct output *o) {
    if (o->data == NULL) return;
    drop_until(o, o->end);
    unlink_from(o);
    account(o->pool, 0, o->cap);
    free(o->data);
    o->data = NULL;
    o->cap = 0;
}

static int pieces_at(const struct output *o, uint64_t offset, size_t len, struct iovec pieces[2]) {
    if (len == 0) return 0;
    size_t at = (size_t)(offset % o->cap), first = o->cap - at;
    if (first > len) first = len;
    pieces[0] = (struct iovec){o->data + at, first};
    if (first == len) return 1;
    pieces[1] = (struct iovec){o->data, len - first};
    return 2;
}

/* Moves the newest held bytes into a ring of another size. */
static bool resize(struct output *o, size_t cap) {
    char *data = malloc(cap);
    if (data == NULL) return false;
    if (o->end - o->start > cap) drop_until(o, o->end - cap);
    struct iovec old[2];
    int count = o->cap > 0 ? pieces_at(o, o->start, (size_t)(o->end - o->start), old) : 0;
    uint64_t offset = o->start;
    for (int i = 0; i < count; i++) {
        for (size_t done = 0; done < old[i].iov_len;) {
            size_t at = (size_t)(offset % cap), len = old[i].iov_len - done;
            if (len > cap - at) len = cap - at;
            memcpy(data + at, (char *)old[i].iov_base + done, len);
            done += len;
            offset += len;
        }
    }
    if (o->data == NULL) link_in(o);
    account(o->pool, cap, o->cap);
    free(o->data);
    o->data = data;
    o->cap = cap;
    return true;
}

/* The pool that is too full for so much more, or NULL. */
static struct output_pool *full(struct output_pool *pool, size_t more) {
    while (pool != NULL && pool->used + more <= pool->max)
        pool = pool->parent;
    return pool;
}

static bool reclaim(struct output_pool *pool, const struct output_pool *asking) {
    return pool->reclaim != NULL && pool->reclaim(pool, asking);
}

/* Over a ceiling the largest ring of the pool gives up its oldest bytes, unless it is smaller than what is
   asked for or a reader still needs them. */
static bool shrink_largest(struct output_pool *pool, const struct output *but, size_t wanted) {
    struct output *largest = NULL;
    for (struct output *o = pool->first; o != NULL; o = o->next) {
        if (o == but || o->cap <= wanted || o->cap <= OUTPUT_MIN) continue;
        if (largest != NULL && o->cap <= largest->cap) continue;
        if (o->end - needed(o) <= o->cap / GROWTH) largest = o;
    }
    return largest != NULL && resize(largest, largest->cap / GROWTH);
}

bool output_shrink(struct output_pool *pool) {
    return shrink_largest(pool, NULL, 0);
}

static bool grow(struct output *o) {
    size_t cap = o->cap == 0 ? OUTPUT_MIN : o->cap > o->max / GROWTH ? o->max : o->cap * GROWTH;
    if (cap > o->max) cap = o->max;
    if (cap <= o->cap) return false;
    for (struct output_pool *p; cap > OUTPUT_MIN && (p = full(o->pool, cap - o->cap)) != NULL;)
        if (!reclaim(p, o->pool) && !reclaim(o->pool, o->pool) && !shrink_largest(o->pool, o, cap))
            return false;
    return resize(o, cap);
}

bool output_first(struct output *o, const char *data, size_t len) {
    size_t cap = SMALLEST;
    while (cap < len)
        cap *= 2;
    if (!resize(o, cap < o->max ? cap : o->max)) return false;
    struct iovec pieces[2];
    int count = pieces_at(o, o->end, len, pieces);
    for (int i = 0; i < count; i++) {
        memcpy(pieces[i].iov_base, data, pieces[i].iov_len);
        data += pieces[i].iov_len;
    }
    output_added(o, len);
    return true;
}

int output_room(struct output *o, size_t most, struct iovec pieces[2]) {
    size_t unused = o->cap - (size_t)(o->end - o->start);
    while (unused < o->cap / 2 || o->cap == 0) {
        if (!grow(o)) break;
        unused = o->cap - (size_t)(o->end - o->start);
    }
    size_t room = o->cap - (size_t)(o->end - needed(o));
    if (o->cap < o->max && unused > 0) room = unused; /* it can grow before anything must give way */
    if (room > most) room = most;
    return room == 0 ? 0 : pieces_at(o, o->end, room, pieces);
}

void output_added(struct output *o, size_t len) {
    o->end += len;
    if (o->end - o->start > o->cap) drop_until(o, o->end - o->cap);
}

int output_peek(const struct output *o, uint64_t pos, size_t most, struct iovec pieces[2]) {
    if (pos < o->start || pos >= o->end) return 0;
    uint64_t len = o->end - pos;
    return pieces_at(o, pos, len < most ? (size_t)len : most, pieces);
}

void output_attach(struct output *o, struct output_reader *r, uint64_t pos) {
    r->output = o;
    r->pos = pos > o->start ? pos : o->start;
    r->next = o->readers;
    o->readers = r;
}

void output_detach(struct output_reader *r) {
    if (r->output == NULL) return;
    struct output_reader **at = &r->output->readers;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    r->output = NULL;
}

void output_advance(struct output_reader *r, size_t len) {
    r->pos += len;
    if (r->pos > r->output->seen) r->output->seen = r->pos;
}
