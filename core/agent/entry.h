/* A process in JSON. All but entry_list and entry_pids write fields for the inside of an object. */
#ifndef AGENT_ENTRY_H
#define AGENT_ENTRY_H

#include <stddef.h>
#include <sys/types.h>

#include "agent/process.h"
#include "util/buf.h"

void entry_start(const struct process *p, struct buf *out); /* of the start event: id, pid, tag */
void entry_created(const struct process *p,
                   struct buf *out); /* of a start in the background: id, pid, cmd, tag */
void entry_exit(const struct process *p, struct buf *out);   /* of the exit event */
void entry_fields(const struct process *p, struct buf *out); /* all of a listing */
void entry_list(const struct process_set *set, struct buf *out);
void entry_pids(struct buf *out, const pid_t *pids, size_t count);

#endif
