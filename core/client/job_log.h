/* The last lines of a job's log, from the Hub's stream of events in any pieces, for an error text. Pure. */
#ifndef CLIENT_JOB_LOG_H
#define CLIENT_JOB_LOG_H

#include <stdbool.h>

#include "util/buf.h"

#define JOB_LOG_LINES    20    /* kept */
#define JOB_LOG_SHOWN    200   /* bytes of a line in the text */
#define JOB_LOG_LINE_MAX 65536 /* of the stream; a longer one is left out */

struct job_log {
    struct buf partial;         /* the line that has not ended yet */
    bool skipping;              /* that line is too long */
    char *lines[JOB_LOG_LINES]; /* as the job wrote them: secrets are replaced before anything is cut */
    size_t count;
};

void job_log_init(struct job_log *log);
void job_log_free(struct job_log *log);

/* Skips what is no line of the log. False: no memory for some of it; more may be fed all the same. */
bool job_log_feed(struct job_log *log, const char *data, size_t len);

/* Appends as many of the last lines as `room` bytes hold, oldest first, joined by " | ": valid UTF-8 without
   control characters, and "***" in the place of the secrets (ended by NULL; may be NULL)
   that have 4 bytes or more. */
void job_log_text(const struct job_log *log, struct buf *out, size_t room, const char *const *secrets);

#endif
