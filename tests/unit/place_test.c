// links: client/place.c
#include "check.h"

#include <stdlib.h>

#include "client/place.h"

static struct place host(unsigned capacity, unsigned live) {
    return (struct place){.ready = true, .capacity = capacity, .live = live};
}

static void link_up(struct place *p, size_t count) {
    for (size_t i = 0; i + 1 < count; i++)
        p[i].next = &p[i + 1];
}

static void room(void) {
    struct place p = host(3, 1);
    CHECK_EQ(place_room(&p), 2);
    p.pending = 1;
    CHECK_EQ(place_room(&p), 1);
    p.live = 5; /* others have filled it */
    CHECK_EQ(place_room(&p), 0);
    p = host(3, 0);
    p.ready = false;
    CHECK_EQ(place_room(&p), 0);
}

static void packing_and_spreading(void) {
    struct place p[] = {host(4, 1), host(4, 3), host(4, 4), host(4, 2)};
    link_up(p, 4);
    CHECK(place_pick(p, false) == &p[1]);
    CHECK(place_pick(p, true) == &p[0]);
    p[1].posts = PLACE_POSTS_MAX; /* not now */
    CHECK(place_pick(p, false) == &p[3]);
    CHECK_EQ(place_lacking(p, 6), 0); /* its room counts all the same */
    CHECK_EQ(place_lacking(p, 7), 1);
    struct place full = host(2, 2);
    CHECK(place_pick(&full, false) == NULL);
    CHECK(place_pick(NULL, true) == NULL);
}

static void sharing(void) {
    struct place p[] = {host(10, 0), host(10, 4), host(10, 10)};
    link_up(p, 3);
    CHECK_EQ(place_share(p, &p[1], false, 20), 6);
    CHECK_EQ(place_share(p, &p[1], false, 2), 2);
    CHECK_EQ(place_share(p, &p[0], true, 20), 4); /* up to the level of the next one */
    p[0].live = 4;
    CHECK_EQ(place_share(p, &p[0], true, 20), 1);
    p[1].live = 10;
    CHECK_EQ(place_share(p, &p[0], true, 20), 6);
}

static void how_many_more(void) {
    struct place p[] = {host(50, 49), host(50, 0)};
    link_up(p, 2);
    p[1].ready = false; /* starting: all of it will be free */
    CHECK_EQ(place_wanted(p, 51, 0, 50), 0);
    CHECK_EQ(place_wanted(p, 52, 0, 50), 1);
    CHECK_EQ(place_wanted(p, 101, 0, 50), 1);
    CHECK_EQ(place_wanted(p, 102, 0, 50), 2);
    CHECK_EQ(place_wanted(p, 0, 2, 50), 0);
    CHECK_EQ(place_wanted(p, 0, 5, 50), 3);
    CHECK_EQ(place_wanted(p, 52, 5, 50), 3); /* those serve both */
    CHECK_EQ(place_wanted(NULL, 1, 1, 50), 1);
    CHECK_EQ(place_wanted(NULL, 0, 0, 50), 0);
    CHECK_EQ(place_wanted(NULL, 4000000000u, 0, 1), 4000000000u);
}

/* Whatever happens: never more than a host carries, and as many hosts as are needed. */
static void any_way(void) {
    srand(1);
    for (int round = 0; round < 20000; round++) {
        struct place p[4];
        unsigned waiting = (unsigned)rand() % 30, given = 0, all_room = 0,
                 per_host = 1 + (unsigned)rand() % 9;
        bool spread = rand() % 2;
        for (size_t i = 0; i < 4; i++) {
            p[i] = host(per_host, (unsigned)rand() % (per_host + 1));
            p[i].ready = rand() % 4 > 0;
            all_room += place_room(&p[i]);
        }
        link_up(p, 4);
        unsigned left = waiting;
        for (struct place *to; left > 0 && (to = place_pick(p, spread)) != NULL;) {
            unsigned share = place_share(p, to, spread, left);
            CHECK(share >= 1 && share <= left && share <= place_room(to));
            to->pending += share; /* answered at once, so that posts stay below their ceiling */
            left -= share;
            given += share;
        }
        CHECK_EQ(given, waiting < all_room ? waiting : all_room);
        unsigned more = place_wanted(p, left, 0, per_host), coming = 0;
        for (size_t i = 0; i < 4; i++)
            coming += p[i].ready ? 0 : p[i].capacity;
        unsigned lacking = left > coming ? left - coming : 0;
        CHECK(more * per_host >= lacking && (more == 0 || (more - 1) * per_host < lacking));
    }
}

static void order(void) {
    struct place_living a = {"a", 5}, b = {"b", 5}, c = {"0", 6};
    CHECK(place_older(&a, &b) && !place_older(&b, &a) && !place_older(&a, &a));
    CHECK(place_older(&b, &c) && !place_older(&c, &a));
}

CHECK_MAIN(room, packing_and_spreading, sharing, how_many_more, any_way, order)
