#include "client/transfer_step.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "util/clock.h"
#include "util/text.h"
#include "wire/names.h"

#define HEAD_MAX (256 * 1024)

static void take_header(struct transfer_head *head, const char *name, size_t name_len, const char *value,
                        size_t value_len) {
    char *into = NULL;
    size_t room = 0;
    if (name_len == 4 && strncasecmp(name, "ETag", 4) == 0) {
        into = head->etag, room = sizeof head->etag;
    } else if (name_len == 12 && strncasecmp(name, "Content-Type", 12) == 0) {
        into = head->content_type, room = sizeof head->content_type;
    }
    if (name_len == sizeof HEADER_CODE - 1 && strncasecmp(name, HEADER_CODE, name_len) == 0)
        head->coded = true;
    uint64_t seconds;
    bool retry = name_len == 11 && strncasecmp(name, "Retry-After", 11) == 0;
    if (retry && text_u64(value, value_len, &seconds) && seconds <= 3600)
        head->retry_ms = (int)seconds * 1000;
    if (name_len == 17 && strncasecmp(name, "Transfer-Encoding", 17) == 0) head->chunked = true;
    if (into == NULL || value_len >= room) return;
    memcpy(into, value, value_len);
    into[value_len] = '\0';
}

static bool head_complete(struct transfer *t, int64_t length) {
    t->head.length = length;
    t->head_done = true;
    if (t->spec.on_head == NULL || t->spec.on_head(t->spec.ctx, &t->head)) return !t->canceled;
    t->stopped = true;
    return false;
}

bool transfer_step_header(struct transfer *t, const char *line, size_t len, int status, int64_t length) {
    if (t->canceled) return false;
    t->heard_ms = clock_ms();
    t->head_bytes += len;
    if (t->head_bytes > HEAD_MAX) {
        snprintf(t->reason, sizeof t->reason, "the head of the response is over %d bytes", HEAD_MAX);
        return false;
    }
    if (t->head_done) return true; /* trailers */
    if (len >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        memset(&t->head, 0, sizeof t->head);
        t->head.status = status;
        t->head.retry_ms = -1;
        return true;
    }
    size_t end = len;
    while (end > 0 && (line[end - 1] == '\r' || line[end - 1] == '\n' || line[end - 1] == ' '))
        end--;
    /* An interim response has a head of its own, and another one follows. */
    if (end == 0) return t->head.status < 200 || head_complete(t, length);
    const char *colon = memchr(line, ':', end);
    if (colon == NULL) return true;
    const char *value = colon + 1;
    while (value < line + end && (*value == ' ' || *value == '\t'))
        value++;
    take_header(&t->head, line, (size_t)(colon - line), value, (size_t)(line + end - value));
    if (t->spec.on_header != NULL)
        t->spec.on_header(t->spec.ctx, line, (size_t)(colon - line), value, (size_t)(line + end - value));
    return true;
}

enum transfer_flow transfer_step_data(struct transfer *t, const char *data, size_t len) {
    if (t->canceled) return TRANSFER_STOP;
    t->heard_ms = clock_ms();
    if (t->spec.on_data == NULL) return TRANSFER_TAKEN;
    enum transfer_flow flow = t->spec.on_data(t->spec.ctx, data, len);
    if (t->canceled) return TRANSFER_STOP;
    t->paused = flow == TRANSFER_PAUSE;
    t->stopped = flow == TRANSFER_STOP;
    return flow;
}

size_t transfer_step_read(struct transfer *t, char *into, size_t len) {
    if (t->canceled) return TRANSFER_READ_FAILED;
    t->heard_ms = clock_ms();
    size_t got = t->spec.read(t->spec.ctx, into, len);
    t->stopped = got == TRANSFER_READ_FAILED;
    return got;
}
