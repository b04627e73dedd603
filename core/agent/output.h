/* The held output of one stream of one process: a ring that grows on demand up to its ceiling, addressed by
   offsets that count from the stream's first byte. Readers attach at an offset; bytes that an attached reader
   has not had yet are never overwritten, all others give way to newer ones. Pools bound the memory of all
   rings together. No descriptor here, so it is tested as it is. */
#ifndef AGENT_OUTPUT_H
#define AGENT_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define OUTPUT_MIN                                                                                           \
    4096 /* a ring's first size; granted whatever the pools say, so that no command can be starved by others \
          */

struct output;

/* What a set of rings may hold together. `reclaim` frees memory that matters least (output of ended
 * processes) for a ring of `asking`, a pool in it or itself: true when it freed any. */
struct output_pool {
    struct output_pool *parent;
    size_t max;
    size_t used;
    bool (*reclaim)(struct output_pool *pool, const struct output_pool *asking);
    struct output *first;
};

struct output_reader {
    struct output_reader *next;
    struct output *output; /* NULL while not attached */
    uint64_t pos;
};

struct output {
    struct output_pool *pool;
    struct output *next, *prev; /* in the pool, while memory is held */
    struct output_reader *readers;
    char *data;
    size_t cap;
    size_t max;
    uint64_t start, end; /* the offsets held */
    uint64_t seen;       /* how far any reader has come */
    uint64_t dropped;    /* bytes thrown away that no reader had */
};

void output_init(struct output *o, struct output_pool *pool, size_t max);
bool output_shrink(struct output_pool *pool); /* the largest ring gives up what no reader needs of it; false:
                                                 none can */
void output_discard(struct output *o);        /* gives the memory back; what was held counts as thrown away */

/* Where to read the next bytes into: one or two pieces, at most `most` bytes together. 0 = full of bytes that
   a reader still needs. Only the bytes then reported by output_added replace older ones. */
int output_room(struct output *o, size_t most, struct iovec pieces[2]);
void output_added(struct output *o, size_t len);

/* The first bytes, at most OUTPUT_MIN and o->max, copied into a ring that fits them: most streams never have
   any, or few. Only while no memory is held. False: no memory. */
bool output_first(struct output *o, const char *data, size_t len);

/* The held bytes from pos on, at most `most`: 0 to 2 pieces, valid until the output changes. */
int output_peek(const struct output *o, uint64_t pos, size_t most, struct iovec pieces[2]);

void output_attach(struct output *o, struct output_reader *r, uint64_t pos); /* pos is raised to o->start */
void output_detach(struct output_reader *r);                                 /* no effect when not attached */
void output_advance(struct output_reader *r, size_t len);

#endif
