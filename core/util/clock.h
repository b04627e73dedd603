/* Time: monotonic milliseconds, wall-clock milliseconds, and deadlines. */
#ifndef UTIL_CLOCK_H
#define UTIL_CLOCK_H

#include <stdint.h>

#define CLOCK_NEVER INT64_MAX

int64_t clock_ms(void);      /* monotonic, since an arbitrary start */
int64_t clock_us(void);      /* likewise in microseconds */
int64_t clock_wall_ms(void); /* since 1970 */

/* The moment timeout_ms from now; a negative timeout means CLOCK_NEVER. */
int64_t clock_deadline(int64_t timeout_ms);

/* Milliseconds left until the deadline as poll(2) takes them: 0 when past, -1 when never, never more than INT_MAX. */
int clock_poll_ms(int64_t deadline);

#endif
