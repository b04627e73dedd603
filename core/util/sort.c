#include "util/sort.h"

#include <string.h>

/* A heap sort: far less code than the C library's. */
void sort_items(void *items, size_t count, size_t size, int (*compare)(const void *a, const void *b)) {
    char *base = items, item[64];
    size_t end = count * size;
    /* First the items from `from` on become a heap, whose largest then goes to the end, again and again. */
    for (size_t from = count / 2 * size; end > size;) {
        if (from > 0) {
            from -= size;
            memcpy(item, base + from, size);
        } else {
            end -= size;
            memcpy(item, base + end, size);
            memcpy(base + end, base, size);
        }
        size_t hole = from;
        for (size_t child; (child = 2 * hole + size) < end; hole = child) {
            if (child + size < end && compare(base + child, base + child + size) < 0) child += size;
            if (compare(item, base + child) >= 0) break;
            memcpy(base + hole, base + child, size);
        }
        memcpy(base + hole, item, size);
    }
}
