#include "client/stream_event.h"

#include <stdio.h>
#include <string.h>

#include "client/json.h"

void stream_event_start(struct stream_event *out, const struct json *value) {
    memset(out, 0, sizeof *out);
    out->kind = STREAM_START;
    out->pid = json_int(value, "pid", 0);
    const char *id = json_string(value, "id");
    snprintf(out->id, sizeof out->id, "%s", id != NULL ? id : "");
}

void stream_event_exit(struct stream_exit *out, const struct json *value) {
    memset(out, 0, sizeof *out);
    out->exit_code = (int)json_int(value, "exit_code", -1);
    out->signal = (int)json_int(value, "signal", 0);
    out->timed_out = json_bool(value, "timed_out", false);
    out->duration_ms = json_int(value, "duration_ms", 0);
    out->survivors = json_count(json_get(value, "survivors"));
    const char *limit = json_string(value, "limit");
    snprintf(out->limit, sizeof out->limit, "%s", limit != NULL ? limit : "");
}
