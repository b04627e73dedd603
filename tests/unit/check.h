/* A test program in one header: CHECK, and a table of cases run by main. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_failures;

#define CHECK(condition)                                                                                                   \
    do {                                                                                                                   \
        if (!(condition)) {                                                                                                \
            printf("%s:%d: %s: not true: %s\n", __FILE__, __LINE__, __func__, #condition);                                 \
            check_failures++;                                                                                              \
        }                                                                                                                  \
    } while (0)

#define CHECK_EQ(a, b)                                                                                                     \
    do {                                                                                                                   \
        long long check_a = (long long)(a), check_b = (long long)(b);                                                      \
        if (check_a != check_b) {                                                                                          \
            printf("%s:%d: %s: %s is %lld, not %lld\n", __FILE__, __LINE__, __func__, #a, check_a, check_b);               \
            check_failures++;                                                                                              \
        }                                                                                                                  \
    } while (0)

#define CHECK_STR(a, b)                                                                                                    \
    do {                                                                                                                   \
        const char *check_a = (a), *check_b = (b);                                                                         \
        if (check_a == NULL || strcmp(check_a, check_b) != 0) {                                                            \
            printf("%s:%d: %s: %s is \"%s\", not \"%s\"\n", __FILE__, __LINE__, __func__, #a,                              \
                   check_a == NULL ? "(null)" : check_a, check_b);                                                         \
            check_failures++;                                                                                              \
        }                                                                                                                  \
    } while (0)

#define CHECK_MAIN(...)                                                                                                    \
    int main(void) {                                                                                                       \
        void (*cases[])(void) = {__VA_ARGS__};                                                                             \
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)                                                          \
            cases[i]();                                                                                                    \
        if (check_failures > 0) printf("%d checks failed\n", check_failures);                                              \
        return check_failures > 0;                                                                                         \
    }

#endif
