#include "client/stream_event.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "client/json.h"

#define SIGNAL_MAX 127 /* of any system: what a wait status has room for */

void stream_event_start(struct stream_event *out, const struct json *value) {
    memset(out, 0, sizeof *out);
    out->kind = STREAM_START;
    out->pid = json_int(value, "pid", 0);
    const char *id = json_string(value, "id");
    snprintf(out->id, sizeof out->id, "%s", id != NULL ? id : "");
}

bool stream_event_exit(struct stream_exit *out, const struct json *value) {
    memset(out, 0, sizeof *out);
    bool code = json_int_within(value, "exit_code", INT_MIN, INT_MAX, -1, &out->exit_code);
    bool signal = json_int_within(value, "signal", 0, SIGNAL_MAX, 0, &out->signal);
    out->timed_out = json_bool(value, "timed_out", false);
    out->duration_ms = json_int(value, "duration_ms", 0);
    out->survivors = json_count(json_get(value, "survivors"));
    const char *limit = json_string(value, "limit");
    snprintf(out->limit, sizeof out->limit, "%s", limit != NULL ? limit : "");
    return code && signal;
}
