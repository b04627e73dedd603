/* What doctor found out, to be read and to be sent: no secret, no path of the home directory, and no name of
   a computer but the Hub's is in it. */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum report_state { REPORT_OK, REPORT_FAILED, REPORT_SKIPPED };

struct report_check {
    const char *name; /* static */
    enum report_state state;
    char text[1200];
};

struct report_figure {
    const char *name; /* static; with its unit */
    int64_t value;
};

struct report {
    bool json;        /* all of it at the end; otherwise each line as soon as it is known */
    int error_number; /* of a line that could not be written */
    struct report_check checks[24];
    struct report_figure figures[32];
    size_t check_count, figure_count;
};

void report_begin(struct report *report, bool json); /* of a zeroed one */
void report_check(struct report *report, const char *name, enum report_state state, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void report_figure(struct report *report, const char *name, int64_t value); /* for --json */
bool report_failed(const struct report *report, size_t from); /* one of the checks from this one on */
int report_end(const struct report *report);                  /* the exit code of its writing */

#endif
