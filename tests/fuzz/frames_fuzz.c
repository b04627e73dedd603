// links: client/frame_reader.c client/stream_event.c client/json.c client/fork_lock.c
/* Frames of a peer: whole and in pieces they give the same events, and what is given lies inside what came.
 */
#include "client/frame_reader.h"

#define FUZZ_READER frame_reader
#include "stream_fuzz.h"
