// links: client/ndjson_reader.c client/stream_event.c client/json.c client/fork_lock.c
/* NDJSON of a peer: whole and in pieces it gives the same events. */
#include "client/ndjson_reader.h"

#define FUZZ_READER ndjson_reader
#include "stream_fuzz.h"
