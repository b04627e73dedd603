#include "util/clock.h"

#include <limits.h>
#include <time.h>

static int64_t read_us(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_us(void) {
    return read_us(CLOCK_MONOTONIC);
}

int64_t clock_ms(void) {
    return clock_us() / 1000;
}

int64_t clock_wall_ms(void) {
    return read_us(CLOCK_REALTIME) / 1000;
}

int64_t clock_deadline(int64_t timeout_ms) {
    int64_t now = clock_ms();
    if (timeout_ms < 0 || timeout_ms > CLOCK_NEVER - now) return CLOCK_NEVER;
    return now + timeout_ms;
}

int clock_poll_ms(int64_t deadline) {
    if (deadline == CLOCK_NEVER) return -1;
    int64_t left = deadline - clock_ms();
    if (left <= 0) return 0;
    return left > INT_MAX ? INT_MAX : (int)left;
}
