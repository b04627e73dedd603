#include "client/transport.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/client.h"
#include "client/log.h"
#include "client/sigpipe.h"
#include "util/clock.h"
#include "util/testing.h"

#define POOL_MAX        32 /* idle libcurl handles kept */
#define CONNECTIONS_MAX 512L
#define CONNECT_MS      10000L
#define HEAD_MAX        (256 * 1024)
#define BUFFER_SIZE     (512L * 1024)

struct transport {
    struct sbx_client *client;
    CURLM *multi;
    struct io_timer timer; /* libcurl's */
    struct io_timer kick;  /* deferred work */
    bool inside;           /* libcurl is on the stack: it refuses most calls from its own callbacks */
    bool again;            /* there is deferred work */
    bool connecting;       /* some transfer has a listener */
    size_t tls;            /* transfers over TLS */
    struct transfer *transfers;
    CURL *pool[POOL_MAX];
    size_t pooled;
};

struct transfer {
    struct transport *transport;
    struct transfer *next, *prev;
    struct transfer_spec spec; /* target and headers are not used any more */
    CURL *easy;
    struct curl_slist *headers;
    struct transfer_head head;
    size_t head_bytes;
    bool head_done;
    bool added;    /* libcurl has it */
    bool canceled; /* to be removed; no callback any more */
    bool paused, resume;
    bool stopped, silent;
    bool tls;
    int listener; /* for a connection to an attached agent, until it is handed over; -1 = none */
    int64_t started_us;
    int64_t heard_ms; /* when something last moved */
    struct io_timer silence;
    char reason[CURL_ERROR_SIZE];
};

struct watched_socket {
    struct io_watch watch;
    struct transport *transport;
};

/* ---- From libcurl to the driver */

static void pump(struct transport *transport, curl_socket_t fd, int events);

static void socket_ready(void *ctx, unsigned events) {
    struct watched_socket *s = ctx;
    int what = 0;
    if (events & IO_READ) what |= CURL_CSELECT_IN;
    if (events & IO_WRITE) what |= CURL_CSELECT_OUT;
    if (events & IO_ERROR) what |= CURL_CSELECT_ERR;
    pump(s->transport, s->watch.fd, what);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *known) {
    (void)easy;
    struct transport *transport = ctx;
    struct io *io = &transport->client->io;
    struct watched_socket *s = known;
    if (what == CURL_POLL_REMOVE) {
        if (s != NULL) {
            io_watch_clear(io, &s->watch);
            curl_multi_assign(transport->multi, fd, NULL);
            free(s);
        }
        return 0;
    }
    if (s == NULL) {
        s = calloc(1, sizeof *s);
        if (s == NULL) return -1;
        s->transport = transport;
        s->watch = (struct io_watch){.ready = socket_ready, .ctx = s, .fd = fd};
        curl_multi_assign(transport->multi, fd, s);
    }
    unsigned events = 0;
    if (what & CURL_POLL_IN) events |= IO_READ;
    if (what & CURL_POLL_OUT) events |= IO_WRITE;
    return io_watch_set(io, &s->watch, events) ? 0 : -1;
}

static int on_timer(CURLM *multi, long timeout_ms, void *ctx) {
    (void)multi;
    struct transport *transport = ctx;
    int64_t when = timeout_ms < 0 ? CLOCK_NEVER : clock_deadline(timeout_ms);
    return io_timer_set(&transport->client->io, &transport->timer, when) ? 0 : -1;
}

static void timer_fired(void *ctx) {
    pump(ctx, CURL_SOCKET_TIMEOUT, 0);
}

/* ---- Callbacks of one transfer */

static void take_header(struct transfer_head *head, const char *name, size_t name_len, const char *value,
                        size_t value_len) {
    char *into = NULL;
    size_t room = 0;
    if (name_len == 4 && strncasecmp(name, "ETag", 4) == 0) {
        into = head->etag, room = sizeof head->etag;
    } else if (name_len == 12 && strncasecmp(name, "Content-Type", 12) == 0) {
        into = head->content_type, room = sizeof head->content_type;
    }
    if (into == NULL || value_len >= room) return;
    memcpy(into, value, value_len);
    into[value_len] = '\0';
}

static bool head_complete(struct transfer *t) {
    curl_off_t length = -1;
    curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    t->head.length = (int64_t)length;
    t->head_done = true;
    if (t->spec.on_head == NULL || t->spec.on_head(t->spec.ctx, &t->head)) return true;
    t->stopped = true;
    return false;
}

static size_t on_header(char *line, size_t size, size_t count, void *ctx) {
    struct transfer *t = ctx;
    size_t len = size * count;
    if (t->canceled) return 0;
    t->heard_ms = clock_ms();
    t->head_bytes += len;
    if (t->head_bytes > HEAD_MAX) {
        snprintf(t->reason, sizeof t->reason, "the head of the response is over %d bytes", HEAD_MAX);
        return 0;
    }
    if (t->head_done) return len; /* trailers */
    if (len >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        long status = 0;
        curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
        memset(&t->head, 0, sizeof t->head);
        t->head.status = (int)status;
        return len;
    }
    size_t end = len;
    while (end > 0 && (line[end - 1] == '\r' || line[end - 1] == '\n' || line[end - 1] == ' '))
        end--;
    if (end == 0) {
        /* An interim response has a head of its own, and another one follows. */
        if (t->head.status >= 200 && !head_complete(t)) return 0;
        return len;
    }
    const char *colon = memchr(line, ':', end);
    if (colon == NULL) return len;
    const char *value = colon + 1;
    while (value < line + end && (*value == ' ' || *value == '\t'))
        value++;
    take_header(&t->head, line, (size_t)(colon - line), value, (size_t)(line + end - value));
    return len;
}

static size_t on_write(char *data, size_t size, size_t count, void *ctx) {
    struct transfer *t = ctx;
    size_t len = size * count;
    if (t->canceled) return 0;
    t->heard_ms = clock_ms();
    if (t->spec.on_data == NULL) return len;
    switch (t->spec.on_data(t->spec.ctx, data, len)) {
    case TRANSFER_TAKEN:
        return t->canceled ? 0 : len;
    case TRANSFER_PAUSE:
        t->paused = true;
        return CURL_WRITEFUNC_PAUSE;
    case TRANSFER_STOP:
        t->stopped = true;
        break;
    }
    return 0;
}

static size_t on_read(char *into, size_t size, size_t count, void *ctx) {
    struct transfer *t = ctx;
    if (t->canceled) return CURL_READFUNC_ABORT;
    t->heard_ms = clock_ms();
    size_t got = t->spec.read(t->spec.ctx, into, size * count);
    if (got != TRANSFER_READ_FAILED) return got;
    t->stopped = true;
    return CURL_READFUNC_ABORT;
}

static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address) {
    (void)purpose;
    struct transfer *t = ctx;
    if (t->spec.endpoint->kind == ENDPOINT_CONTROL) {
        socklen_t len;
        if (t->listener >= 0) close(t->listener);
        /* libcurl gives room for any address. */
        t->listener = endpoint_listen(&address->addr, &len, sizeof(struct sockaddr_storage));
        if (t->listener < 0) return CURL_SOCKET_BAD;
        address->addrlen = len;
        t->transport->connecting = true;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* ---- Handles */

static CURL *new_handle(void) {
    CURL *easy = curl_easy_init();
    if (easy == NULL) return NULL;
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "hfsandbox/" SBX_VERSION);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, BUFFER_SIZE);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, BUFFER_SIZE);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 15L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 15L);
    curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    return easy;
}

static void give_handle(struct transport *transport, CURL *easy) {
    if (transport->pooled < POOL_MAX) {
        transport->pool[transport->pooled++] = easy;
    } else {
        curl_easy_cleanup(easy);
    }
}

static bool add_header(struct curl_slist **list, const char *line) {
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (longer == NULL) return false;
    *list = longer;
    return true;
}

static bool add_named(struct curl_slist **list, const char *name, const char *value) {
    char line[256];
    int len = snprintf(line, sizeof line, "%s: %s", name, value);
    return len > 0 && (size_t)len < sizeof line && add_header(list, line);
}

static bool build_headers(struct transfer *t, const struct transfer_spec *spec) {
    struct curl_slist **list = &t->headers;
    bool has_body = spec->body != NULL || spec->read != NULL;
    bool ok = true;
    /* libcurl would wait a second for "100 Continue" before a body above 1 MiB. */
    if (has_body) ok = add_header(list, "Expect:");
    if (ok && has_body)
        ok = spec->content_type != NULL ? add_named(list, "Content-Type", spec->content_type)
                                        : add_header(list, "Content-Type:");
    if (ok && spec->accept != NULL) ok = add_named(list, "Accept", spec->accept);
    if (ok && spec->endpoint->token_header != NULL) ok = add_header(list, spec->endpoint->token_header);
    for (size_t i = 0; ok && i < sizeof spec->headers / sizeof *spec->headers && spec->headers[i] != NULL;
         i++)
        ok = add_header(list, spec->headers[i]);
    return ok;
}

static void set_method(CURL *easy, const struct transfer_spec *spec) {
    /* HTTPGET first: it undoes what the handle's last use has set. */
    curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    const char *plain = "GET";
    if (spec->read != NULL) {
        curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)spec->body_len);
        plain = "PUT";
    } else if (spec->body != NULL || strcmp(spec->method, "POST") == 0) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)spec->body_len);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, spec->body != NULL ? spec->body : "");
        plain = "POST";
    } else if (strcmp(spec->method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
        plain = "HEAD";
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, strcmp(spec->method, plain) == 0 ? NULL : spec->method);
}

static bool set_up(struct transfer *t, const struct transfer_spec *spec) {
    const struct endpoint *endpoint = spec->endpoint;
    char url[8192];
    int len = snprintf(url, sizeof url, "%s%s", endpoint->url, spec->target);
    char *longer = NULL;
    if (len >= (int)sizeof url) {
        longer = malloc((size_t)len + 1);
        if (longer == NULL) return false;
        snprintf(longer, (size_t)len + 1, "%s%s", endpoint->url, spec->target);
    }
    CURLcode failed = curl_easy_setopt(t->easy, CURLOPT_URL, longer != NULL ? longer : url);
    free(longer);
    bool local = endpoint_is_local(endpoint);
    if (!failed) failed = curl_easy_setopt(t->easy, CURLOPT_UNIX_SOCKET_PATH, endpoint->path);
    if (!failed) failed = curl_easy_setopt(t->easy, CURLOPT_PROXY, local ? "" : NULL);
    if (failed || !build_headers(t, spec)) return false;
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
    /* libcurl re-sends on a used connection that turns out dead. What must not be sent twice goes over a new
       one; so does what it could not rewind. */
    bool fresh = spec->fresh || spec->read != NULL;
    if (spec->fresh && testing_off("fresh-connect")) fresh = false;
    curl_easy_setopt(t->easy, CURLOPT_FRESH_CONNECT, fresh ? 1L : 0L);
    set_method(t->easy, spec);
    curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->reason);
    curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
    curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_READDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_OPENSOCKETDATA, t);
    t->tls = strncmp(endpoint->url, "https:", 6) == 0;
    return true;
}

/* ---- The end of a transfer */

static void unlink_transfer(struct transfer *t) {
    struct transport *transport = t->transport;
    if (t->prev != NULL) {
        t->prev->next = t->next;
    } else {
        transport->transfers = t->next;
    }
    if (t->next != NULL) t->next->prev = t->prev;
}

/* Out of libcurl and out of every list; the memory remains. */
static void detach(struct transfer *t) {
    struct transport *transport = t->transport;
    io_timer_clear(&transport->client->io, &t->silence);
    if (t->added) {
        bool before = transport->inside;
        transport->inside = true;
        curl_multi_remove_handle(transport->multi, t->easy);
        transport->inside = before;
        if (t->tls) transport->tls--;
    }
    if (t->listener >= 0) close(t->listener);
    unlink_transfer(t);
    curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, NULL);
    give_handle(transport, t->easy);
    curl_slist_free_all(t->headers);
}

static enum transfer_outcome outcome_of(const struct transfer *t, CURLcode code) {
    if (code == CURLE_OK) return TRANSFER_OK;
    if (t->silent) return TRANSFER_SILENT;
    if (t->stopped) return TRANSFER_STOPPED;
    switch (code) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
        return TRANSFER_NOT_SENT;
    default:
        break;
    }
    long sent = 0;
    curl_easy_getinfo(t->easy, CURLINFO_REQUEST_SIZE, &sent);
    return sent == 0 ? TRANSFER_NOT_SENT : TRANSFER_LOST;
}

static void explain(struct transfer *t, CURLcode code, struct transfer_end *end) {
    const char *reason = t->reason[0] != '\0' ? t->reason : curl_easy_strerror(code);
    const char *where = endpoint_where(t->spec.endpoint);
    long os_errno = 0;
    curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &os_errno);
    sbx_status status = SBX_ERROR_CONNECTION;
    switch (end->outcome) {
    case TRANSFER_OK:
        return;
    case TRANSFER_STOPPED:
        error_set(&end->error, SBX_ERROR_CANCELED, "stopped");
        return;
    case TRANSFER_SILENT:
        error_set(&end->error, SBX_ERROR_CONNECTION, "%s has sent nothing for %lld ms", where,
                  (long long)t->spec.silence_ms);
        return;
    case TRANSFER_NOT_SENT:
        if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL) status = SBX_ERROR_INVALID;
        if (code == CURLE_OUT_OF_MEMORY) status = SBX_ERROR_MEMORY;
        error_set(&end->error, status, "%s cannot be reached: %s", where, reason);
        break;
    case TRANSFER_LOST:
        if (code == CURLE_WEIRD_SERVER_REPLY || code == CURLE_UNSUPPORTED_PROTOCOL ||
            code == CURLE_BAD_CONTENT_ENCODING || code == CURLE_WRITE_ERROR) {
            status = SBX_ERROR_PROTOCOL;
        }
        if (code == CURLE_OUT_OF_MEMORY) status = SBX_ERROR_MEMORY;
        error_set(&end->error, status, "the connection to %s was lost: %s", where, reason);
        break;
    }
    end->error.system_errno = (int)os_errno;
}

static void log_end(const struct transfer *t, enum transfer_outcome outcome) {
    static const char *const outcomes[] = {"ok", "not_sent", "lost", "silent", "stopped"};
    struct sbx_client *client = t->transport->client;
    if (client->log == NULL) return;
    char status[16], took[32];
    snprintf(status, sizeof status, "%d", t->head.status);
    snprintf(took, sizeof took, "%.3f", (double)(clock_us() - t->started_us) / 1000);
    log_event(client, outcome == TRANSFER_OK ? SBX_LOG_DEBUG : SBX_LOG_INFO, "request", "method",
              t->spec.method, "route", t->spec.log_route, "outcome", outcomes[outcome], "status", status,
              "ms", took, NULL);
}

static void finish(struct transfer *t, CURLcode code) {
    struct transfer_end end = {.outcome = outcome_of(t, code), .head = &t->head};
    explain(t, code, &end);
    log_end(t, end.outcome);
    detach(t);
    t->spec.on_end(t->spec.ctx, &end);
    free(t);
}

static void silence_fired(void *ctx) {
    struct transfer *t = ctx;
    struct io *io = &t->transport->client->io;
    int64_t now = clock_ms();
    int64_t limit = (t->paused ? now : t->heard_ms) + t->spec.silence_ms;
    if (limit > now) {
        io_timer_set(io, &t->silence, limit); /* its slot in the heap is still there: cannot fail */
        return;
    }
    t->silent = true;
    finish(t, CURLE_OPERATION_TIMEDOUT);
}

/* ---- Driving libcurl */

/* What was asked for while libcurl was on the stack. */
static void run_deferred(struct transport *transport) {
    transport->again = false;
    for (struct transfer *t = transport->transfers, *next; t != NULL; t = next) {
        next = t->next;
        if (t->canceled) {
            detach(t);
            free(t);
        } else if (!t->added) {
            if (curl_multi_add_handle(transport->multi, t->easy) == CURLM_OK) {
                t->added = true;
                if (t->tls) transport->tls++;
            } else {
                finish(t, CURLE_OUT_OF_MEMORY);
                transport->again = true;
                return;
            }
        } else if (t->resume) {
            t->resume = false;
            t->paused = false;
            t->heard_ms = clock_ms();
            transport->inside = true;
            curl_easy_pause(t->easy, CURLPAUSE_CONT);
            transport->inside = false;
        }
    }
}

static void reap_finished(struct transport *transport) {
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(transport->multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE) continue;
        CURLcode code = message->data.result;
        struct transfer *t = NULL;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        if (t->canceled) {
            detach(t);
            free(t);
        } else {
            finish(t, code);
        }
    }
}

static void hand_over(struct transport *transport) {
    transport->connecting = false;
    for (struct transfer *t = transport->transfers; t != NULL; t = t->next) {
        if (t->listener < 0) continue;
        if (endpoint_hand_over(t->spec.endpoint, t->listener)) {
            close(t->listener);
            t->listener = -1;
        } else {
            transport->connecting = true;
        }
    }
}

static void settle(struct transport *transport) {
    if (transport->connecting) hand_over(transport);
    reap_finished(transport);
    while (transport->again) {
        run_deferred(transport);
        reap_finished(transport);
    }
}

static void pump(struct transport *transport, curl_socket_t fd, int events) {
    int running;
    struct sigpipe_guard guard;
    bool guarded = transport->tls > 0;
    if (guarded) sigpipe_block(&guard);
    transport->inside = true;
    curl_multi_socket_action(transport->multi, fd, events, &running);
    transport->inside = false;
    settle(transport);
    if (guarded) sigpipe_restore(&guard);
}

static void kick_fired(void *ctx) {
    settle(ctx);
}

static void defer(struct transport *transport) {
    transport->again = true;
    /* When libcurl is on the stack, settle comes after it anyway. */
    if (!transport->inside) io_timer_set(&transport->client->io, &transport->kick, clock_ms());
}

struct transfer *transport_start(struct transport *transport, const struct transfer_spec *spec,
                                 sbx_error *err) {
    struct transfer *t = calloc(1, sizeof *t);
    CURL *easy = transport->pooled > 0 ? transport->pool[--transport->pooled] : new_handle();
    struct io *io = &transport->client->io;
    if (t == NULL || easy == NULL) {
        if (easy != NULL) give_handle(transport, easy);
        free(t);
        error_memory(err);
        return NULL;
    }
    t->transport = transport;
    t->easy = easy;
    t->listener = -1;
    t->spec = *spec;
    t->spec.target = NULL;
    memset(t->spec.headers, 0, sizeof t->spec.headers);
    t->started_us = clock_us();
    t->heard_ms = t->started_us / 1000;
    t->silence = (struct io_timer){.fire = silence_fired, .ctx = t};
    bool ok = set_up(t, spec);
    if (ok && spec->silence_ms > 0) ok = io_timer_set(io, &t->silence, t->heard_ms + spec->silence_ms);
    if (ok && !transport->inside) ok = t->added = curl_multi_add_handle(transport->multi, easy) == CURLM_OK;
    t->next = transport->transfers;
    if (t->next != NULL) t->next->prev = t;
    transport->transfers = t;
    if (!ok) {
        detach(t);
        free(t);
        error_memory(err);
        return NULL;
    }
    if (t->added && t->tls) transport->tls++;
    if (!t->added) defer(transport);
    return t;
}

void transfer_cancel(struct transfer *t) {
    struct transport *transport = t->transport;
    if (transport->inside) {
        t->canceled = true;
        defer(transport);
    } else {
        detach(t);
        free(t);
    }
}

void transfer_resume(struct transfer *t) {
    if (!t->paused || t->resume) return;
    t->resume = true;
    defer(t->transport);
}

/* ---- The whole */

static bool curl_usable;

static void init_curl(void) {
    curl_usable = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

struct transport *transport_new(struct sbx_client *client, sbx_error *err) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_curl);
    struct transport *transport = calloc(1, sizeof *transport);
    if (transport != NULL) transport->multi = curl_usable ? curl_multi_init() : NULL;
    if (transport == NULL || transport->multi == NULL) {
        free(transport);
        error_memory(err);
        return NULL;
    }
    transport->client = client;
    transport->timer = (struct io_timer){.fire = timer_fired, .ctx = transport};
    transport->kick = (struct io_timer){.fire = kick_fired, .ctx = transport};
    curl_multi_setopt(transport->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(transport->multi, CURLMOPT_SOCKETDATA, transport);
    curl_multi_setopt(transport->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(transport->multi, CURLMOPT_TIMERDATA, transport);
    curl_multi_setopt(transport->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_MAX);
    return transport;
}

void transport_free(struct transport *transport) {
    while (transport->pooled > 0)
        curl_easy_cleanup(transport->pool[--transport->pooled]);
    curl_multi_cleanup(transport->multi);
    io_timer_clear(&transport->client->io, &transport->timer);
    io_timer_clear(&transport->client->io, &transport->kick);
    free(transport);
}
