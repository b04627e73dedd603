/* How the start of a sandbox gets on, as one line on a terminal that is written over again and again.
   Elsewhere it is silent. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <hfsandbox/hfsandbox.h>

void progress_begin(const char *id); /* NULL = of a new one */
void progress_end(void);             /* the line is gone */

int progress_wait_ms(void); /* until the line is to be drawn again; -1 = never */
void progress_draw(void);

/* From the log hook: any thread. */
void progress_event(const char *event, const sbx_log_field *fields, size_t count);

#endif
