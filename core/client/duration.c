#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "client/error.h"
#include "util/text.h"

#define DIGITS        "0123456789"
#define FRACTION_MOST 9 /* digits that count: less than a millisecond of the largest unit is left */
#define LONGEST_MS    INT64_C(3200000000000) /* a century */

static const struct unit {
    const char *name;
    uint64_t ms;
} UNITS[] = {{"", 1000},     {"ms", 1},      {"s", 1000},     {"m", 60000},
             {"min", 60000}, {"h", 3600000}, {"d", 86400000}, {"w", 604800000}};

static const struct unit *unit_of(const char *name) {
    for (size_t i = 0; i < sizeof UNITS / sizeof *UNITS; i++) {
        if (strcasecmp(name, UNITS[i].name) == 0) return &UNITS[i];
    }
    return NULL;
}

/* Rounded to whole milliseconds. False: not such a text, or too much. *lost: it was no zero before. */
static bool parse(uint64_t *out, bool *lost, const char *text) {
    uint64_t whole, part = 0, places = 1;
    size_t digits = strspn(text, DIGITS), fraction = 0;
    if (digits == 0 || !text_u64(text, digits, &whole)) return false;
    const char *rest = text + digits;
    bool zero = whole == 0;
    if (*rest == '.') {
        fraction = strspn(++rest, DIGITS);
        if (fraction == 0) return false;
    }
    for (size_t i = 0; i < fraction; i++) {
        zero = zero && rest[i] == '0';
        if (i < FRACTION_MOST) part = part * 10 + (uint64_t)(rest[i] - '0'), places *= 10;
    }
    const struct unit *unit = unit_of(rest + fraction);
    if (unit == NULL || whole > (uint64_t)LONGEST_MS / unit->ms) return false;
    *out = whole * unit->ms + (part * unit->ms + places / 2) / places;
    *lost = *out == 0 && !zero;
    return *out <= (uint64_t)LONGEST_MS;
}

sbx_status sbx_parse_duration(int64_t *out_ms, const char *text, sbx_error *err) {
    uint64_t ms;
    bool lost;
    if (out_ms == NULL || text == NULL)
        return error_set(err, SBX_ERROR_INVALID, "sbx_parse_duration: %s is NULL",
                         out_ms == NULL ? "out_ms" : "text");
    if (!parse(&ms, &lost, text))
        return error_set(err, SBX_ERROR_INVALID,
                         "'%.100s' is no duration: write a number of seconds, or a number and one of ms, s, "
                         "m, h, d, w, as "
                         "90, 1.5s or 2h, of a century at most",
                         text);
    if (lost)
        return error_set(err, SBX_ERROR_INVALID, "'%.100s' is less than half a millisecond: write 1ms, or 0",
                         text);
    *out_ms = (int64_t)ms;
    return SBX_OK;
}
