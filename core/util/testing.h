/* The one switch by which a test turns a protection off, so that the test of that protection can be seen to
   fail without it (its positive control). In every build that is installed the condition is the constant
   false and the compiler removes it; only builds made with -DSBX_TESTING read the comma-separated list in
   SBX_TEST_OFF. */
#ifndef UTIL_TESTING_H
#define UTIL_TESTING_H

#include <stdbool.h>
#include <stdint.h>

#ifdef SBX_TESTING
bool testing_off(const char *protection);

/* A timeout, divided by SBX_TEST_SCALE so that a test of it need not wait that long. */
int64_t testing_ms(int64_t ms);

/* Where settings of the system are looked up: SBX_TEST_DIRECTORY, so that a test can show another system. */
const char *testing_directory(const char *otherwise);
#else
static inline bool testing_off(const char *protection) {
    (void)protection;
    return false;
}

static inline int64_t testing_ms(int64_t ms) {
    return ms;
}

static inline const char *testing_directory(const char *otherwise) {
    return otherwise;
}
#endif

#endif
