#include "proxy.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/clock.h"

/* One line of JSON for each request, written before the request goes on, and one for each reply's status; the
   Hub reads them when it is asked what was requested. */
static int file = -1;

bool log_open(const char *directory) {
    char path[4096];
    snprintf(path, sizeof path, "%s/proxy.log", directory);
    file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    return file >= 0;
}

static void put_text(struct buf *out, struct slice s) {
    buf_putc(out, '"');
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c < 0x20 || c > 0x7e) /* bytes, as Latin-1 */
            buf_printf(out, "\\u%04x", c);
        else
            buf_putc(out, (char)c);
    }
    buf_putc(out, '"');
}

static void write_out(struct buf *out) {
    buf_puts(out, "}\n");
    if (!out->failed) (void)!write(file, out->data, out->len);
    buf_free(out);
}

static void start(struct buf *out, const struct pair *p, const char *kind) {
    buf_printf(out, "{\"kind\":\"%s\",\"at\":%lld,\"connection\":%lu,\"number\":%lu,\"tls\":%s", kind,
               (long long)clock_wall_ms(), p->id, p->requests, p->tls ? "true" : "false");
}

void log_request(const struct pair *p, const struct head *head, const char *action) {
    struct buf out = BUF_INIT(1 << 20);
    if (!table_record || file < 0) return;
    start(&out, p, "request");
    buf_printf(&out,
               ",\"job\":\"%s\",\"port\":%u,\"action\":\"%s\",\"method\":", p->job != NULL ? p->job->id : "",
               p->port, action);
    put_text(&out, head->method);
    buf_puts(&out, ",\"target\":");
    put_text(&out, head->target);
    buf_puts(&out, ",\"headers\":[");
    for (size_t i = 0; i < head->count; i++) {
        buf_puts(&out, i > 0 ? ",[" : "[");
        put_text(&out, head->fields[i].name);
        buf_putc(&out, ',');
        put_text(&out, head->fields[i].value);
        buf_putc(&out, ']');
    }
    buf_putc(&out, ']');
    write_out(&out);
}

void log_reply(const struct pair *p, int status) {
    struct buf out = BUF_INIT(1024);
    if (!table_record || file < 0) return;
    start(&out, p, "reply");
    buf_printf(&out, ",\"status\":%d", status);
    write_out(&out);
}

void log_close(void) {
    if (file >= 0) close(file);
    file = -1;
}
