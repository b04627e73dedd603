#include "util/testing.h"

#ifdef SBX_TESTING
#include <stdlib.h>
#include <string.h>

bool testing_off(const char *protection) {
    const char *list = getenv("SBX_TEST_OFF");
    size_t len = strlen(protection);
    while (list != NULL && *list != '\0') {
        const char *comma = strchr(list, ',');
        size_t item = comma != NULL ? (size_t)(comma - list) : strlen(list);
        if (item == len && strncmp(list, protection, len) == 0) return true;
        list = comma != NULL ? comma + 1 : NULL;
    }
    return false;
}

int64_t testing_ms(int64_t ms) {
    const char *scale = getenv("SBX_TEST_SCALE");
    int64_t by = scale != NULL ? atoll(scale) : 1;
    return by > 1 && ms > 0 ? ms / by + 1 : ms;
}

const char *testing_directory(const char *otherwise) {
    const char *directory = getenv("SBX_TEST_DIRECTORY");
    return directory != NULL ? directory : otherwise;
}
#else
typedef int testing_unused; /* ISO C forbids an empty translation unit */
#endif
