/* Sorts in place, in n log n steps whatever the order was; equal items may change places. */
#ifndef UTIL_SORT_H
#define UTIL_SORT_H

#include <stddef.h>

/* compare as for qsort(3); an item has at most 64 bytes. */
void sort_items(void *items, size_t count, size_t size, int (*compare)(const void *a, const void *b));

#endif
