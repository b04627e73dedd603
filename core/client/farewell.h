/* Ending what nobody waits for any more, commands and files, in the background and with a deadline of its
   own. Lock held. */
#ifndef CLIENT_FAREWELL_H
#define CLIENT_FAREWELL_H

#include <stdint.h>

struct buf;
struct sbx_client;
struct sbx_sandbox;
struct stream;

void farewell_kill(struct sbx_sandbox *sandbox, const char *id, int64_t pid);

/* Takes over a stream whose command is to end: kills it as soon as its id is known. */
void farewell_stream(struct sbx_sandbox *sandbox, struct stream *stream);

/* A background start was broken off before its reply: with a peer that honours keys, asks again with the same
   key, which starts nothing new if it was started, and kills it. body is taken over. */
void farewell_start(struct sbx_sandbox *sandbox, const char *key, struct buf *body);

/* Removes the unfinished file of a write in parts; target: files/write with its query, the part included. */
void farewell_part(struct sbx_sandbox *sandbox, const char *target);

#endif
