/* The one switch by which a test turns a protection off, so that the test of that protection can be seen to fail
   without it (its positive control). In every build that is installed the condition is the constant false and the
   compiler removes it; only builds made with -DSBX_TESTING read the comma-separated list in SBX_TEST_OFF. */
#ifndef UTIL_TESTING_H
#define UTIL_TESTING_H

#include <stdbool.h>

#ifdef SBX_TESTING
bool testing_off(const char *protection);
#else
static inline bool testing_off(const char *protection) {
    (void)protection;
    return false;
}
#endif

#endif
