#include "client/transport.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/client.h"
#include "client/signal_guard.h"
#include "client/transfer_step.h"
#include "client/wakeup.h"
#include "util/clock.h"
#include "util/testing.h"

#define CONNECT_MS  10000L
#define BUFFER_SIZE (512L * 1024)

struct watched_socket {
    struct io_watch watch;
    struct transport *transport;
};

/* libcurl closes idle connections of a multi handle when it pleases. Each endpoint has a store of its own
 * instead, which ends with it, so that a sandbox that is gone leaves no descriptor, and its TLS sessions. */
struct transport_pool {
    CURLSH *share;
    size_t users; /* the endpoint and the transfers over it */
};

static struct transport_pool *pool_new(void) {
    struct transport_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) return NULL;
    *pool = (struct transport_pool){.users = 1, .share = curl_share_init()};
    curl_share_setopt(pool->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    if (curl_share_setopt(pool->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_CONNECT) == CURLSHE_OK) return pool;
    transport_pool_leave(pool);
    return NULL;
}

void transport_pool_leave(struct transport_pool *pool) {
    if (pool == NULL || --pool->users > 0) return;
    signal_guard_turn_begin();
    curl_share_cleanup(pool->share);
    signal_guard_turn_end();
    free(pool);
}

void transport_pool_share(struct endpoint *to, struct endpoint *from) {
    if (from->pool == NULL) from->pool = pool_new();
    if (from->pool != NULL) from->pool->users++;
    to->pool = from->pool;
}

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

static size_t on_header(char *line, size_t size, size_t count, void *ctx) {
    struct transfer *t = ctx;
    long status = 0;
    curl_off_t length = -1;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    return transfer_step_header(t, line, size * count, (int)status, (int64_t)length) ? size * count : 0;
}

static size_t on_write(char *data, size_t size, size_t count, void *ctx) {
    enum transfer_flow flow = transfer_step_data(ctx, data, size * count);
    if (flow == TRANSFER_TAKEN) return size * count;
    return flow == TRANSFER_PAUSE ? CURL_WRITEFUNC_PAUSE : 0;
}

static size_t on_read(char *into, size_t size, size_t count, void *ctx) {
    size_t got = transfer_step_read(ctx, into, size * count);
    return got != TRANSFER_READ_FAILED ? got : CURL_READFUNC_ABORT;
}

static int before_request(void *ctx, char *peer, char *own, int peer_port, int own_port) {
    struct transfer *t = ctx;
    (void)peer, (void)own, (void)peer_port, (void)own_port;
    bool once = (t->spec.once || t->spec.fresh) && !testing_off("fresh-connect");
    return t->sendings++ > 0 && once ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address) {
    (void)purpose;
    struct transfer *t = ctx;
    if (t->spec.endpoint->kind == ENDPOINT_CONTROL) {
        socklen_t len;
        /* libcurl gives room for any address. */
        int fd = handover_socket(&t->transport->handover, t->handover, &address->addr, &len);
        if (fd < 0) return CURL_SOCKET_BAD;
        address->addrlen = len;
        t->transport->connecting = true;
        return fd;
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
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, before_request);
    return easy;
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
    return (size_t)len < sizeof line && add_header(list, line);
}

static bool build_headers(struct transfer *t, const struct transfer_spec *spec) {
    struct curl_slist **list = &t->headers;
    bool has_body = spec->body != NULL || spec->read != NULL, ok = true;
    /* libcurl would wait a second for "100 Continue" before a body above 1 MiB. */
    if (has_body) ok = add_header(list, "Expect:");
    if (ok && !has_body && strcmp(spec->method, "POST") == 0) ok = add_header(list, "Content-Type:");
    if (ok && has_body)
        ok = spec->content_type != NULL ? add_named(list, "Content-Type", spec->content_type)
                                        : add_header(list, "Content-Type:");
    if (ok && spec->accept != NULL) ok = add_named(list, "Accept", spec->accept);
    if (ok && spec->endpoint->token_header != NULL) ok = add_header(list, spec->endpoint->token_header);
    if (ok && spec->endpoint->bearer_header != NULL) ok = add_header(list, spec->endpoint->bearer_header);
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

bool transport_prepare(struct transfer *t, const struct transfer_spec *spec) {
    struct transport *transport = t->transport;
    t->easy = transport->pooled > 0 ? transport->pool[--transport->pooled] : new_handle();
    struct endpoint *endpoint = spec->endpoint;
    if (endpoint->pool == NULL) endpoint->pool = pool_new();
    if (t->easy == NULL || endpoint->pool == NULL) return false;
    (t->pool = endpoint->pool)->users++;
    if (curl_easy_setopt(t->easy, CURLOPT_SHARE, t->pool->share) != CURLE_OK) return false;
    char *url;
    const char *prefix = spec->target[0] == '/' ? "" : endpoint_prefix(endpoint);
    if (asprintf(&url, "%s%s%s", endpoint->url, prefix, spec->target) < 0) return false;
    CURLcode failed = curl_easy_setopt(t->easy, CURLOPT_URL, url);
    free(url);
    if (!failed) failed = curl_easy_setopt(t->easy, CURLOPT_UNIX_SOCKET_PATH, endpoint->path);
    if (!failed) failed = curl_easy_setopt(t->easy, CURLOPT_PROXY, endpoint_is_local(endpoint) ? "" : NULL);
    if (failed || !build_headers(t, spec)) return false;
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
    bool fresh = spec->fresh && !testing_off("fresh-connect");
    curl_easy_setopt(t->easy, CURLOPT_FRESH_CONNECT, (long)fresh); /* and not kept: one each would be left */
    curl_easy_setopt(t->easy, CURLOPT_FORBID_REUSE, (long)(fresh && !testing_off("fresh-closed")));
    set_method(t->easy, spec);
    curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->reason);
    curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
    curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_READDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_OPENSOCKETDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_PREREQDATA, t);
    const char *ca_file = transport->client->ca_file;
    t->tls = strncmp(endpoint->url, "https:", 6) == 0;
    if (!t->tls || ca_file == NULL) return true;
    /* With a directory beside it libcurl parses the file anew for each connection. */
    if (!testing_off("ca-file-alone")) curl_easy_setopt(t->easy, CURLOPT_CAPATH, NULL);
    return curl_easy_setopt(t->easy, CURLOPT_CAINFO, ca_file) == CURLE_OK;
}

bool transport_add(struct transfer *t) {
    t->added = curl_multi_add_handle(t->transport->multi, t->easy) == CURLM_OK;
    if (t->added && t->tls) t->transport->tls++;
    return t->added;
}

void transport_drop(struct transfer *t) {
    struct transport *transport = t->transport;
    if (t->added) {
        struct signal_guard guard; /* TLS says farewell */
        bool before = transport->inside;
        if (t->tls) signal_guard_begin(&guard, SIGPIPE);
        transport->inside = true;
        curl_multi_remove_handle(transport->multi, t->easy);
        transport->inside = before;
        if (t->tls) signal_guard_end(&guard);
        if (t->tls) transport->tls--;
        t->added = false;
    }
    curl_slist_free_all(t->headers);
    if (t->easy == NULL) return;
    curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, NULL);
    curl_easy_setopt(t->easy, CURLOPT_SHARE, NULL);
    transport_pool_leave(t->pool);
    t->pool = NULL;
    if (transport->pooled < TRANSPORT_POOL) {
        transport->pool[transport->pooled++] = t->easy;
    } else {
        curl_easy_cleanup(t->easy);
    }
}

void transport_unpause(struct transfer *t) {
    t->transport->inside = true;
    curl_easy_pause(t->easy, CURLPAUSE_CONT);
    t->transport->inside = false;
}

bool transport_has_sent(struct transfer *t) {
    curl_off_t sent = 0;
    curl_easy_getinfo(t->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
    int64_t before = t->sent;
    t->sent = sent;
    return sent > before;
}

/* ---- Ends */

/* Of other codes: a lost connection. */
static const struct failure {
    CURLcode code;
    sbx_status status;
    bool never; /* nothing was sent */
} FAILURES[] = {
    {CURLE_COULDNT_CONNECT, SBX_ERROR_CONNECTION, true},
    {CURLE_COULDNT_RESOLVE_HOST, SBX_ERROR_CONNECTION, true},
    {CURLE_COULDNT_RESOLVE_PROXY, SBX_ERROR_CONNECTION, true},
    {CURLE_SSL_CONNECT_ERROR, SBX_ERROR_CONNECTION, true},
    {CURLE_PEER_FAILED_VERIFICATION, SBX_ERROR_CONNECTION, true},
    {CURLE_URL_MALFORMAT, SBX_ERROR_INVALID, true},
    {CURLE_UNSUPPORTED_PROTOCOL, SBX_ERROR_PROTOCOL, false}, /* what answers is no HTTP */
    {CURLE_OUT_OF_MEMORY, SBX_ERROR_MEMORY, false},
    {CURLE_WEIRD_SERVER_REPLY, SBX_ERROR_PROTOCOL, false},
    {CURLE_BAD_CONTENT_ENCODING, SBX_ERROR_PROTOCOL, false},
    {CURLE_WRITE_ERROR, SBX_ERROR_PROTOCOL, false}, /* of libcurl's own: a chunked body that is none */
};

static struct failure failure_of(const struct transfer *t, CURLcode code) {
    struct failure other = {code, SBX_ERROR_CONNECTION, false};
    for (size_t i = 0; i < sizeof FAILURES / sizeof *FAILURES; i++) {
        if (FAILURES[i].code == code) other = FAILURES[i];
    }
    long sent = 0;
    curl_easy_getinfo(t->easy, CURLINFO_REQUEST_SIZE, &sent);
    other.never = other.never || sent == 0;
    return other;
}

struct transfer *transport_finished(struct transport *transport, struct transport_result *out) {
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(transport->multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE) continue;
        CURLcode code = message->data.result;
        char *private = NULL;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
        struct transfer *t = (struct transfer *)(void *)private;
        const struct failure failure = failure_of(t, code);
        long os_errno = 0;
        curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &os_errno);
        *out =
            (struct transport_result){.ok = code == CURLE_OK,
                                      .connected = code == CURLE_OK || !failure.never,
                                      .status = failure.status,
                                      .untrusted = code == CURLE_PEER_FAILED_VERIFICATION,
                                      .reason = t->reason[0] != '\0' ? t->reason : curl_easy_strerror(code),
                                      .system_errno = (int)os_errno};
        return t;
    }
    return NULL;
}

static void pump(struct transport *transport, curl_socket_t fd, int events) {
    int running;
    struct signal_guard guard;
    bool guarded = transport->tls > 0;
    if (guarded) signal_guard_begin(&guard, SIGPIPE);
    transport->inside = true;
    curl_multi_socket_action(transport->multi, fd, events, &running);
    transport->inside = false;
    transfer_step_settle(transport);
    if (guarded) signal_guard_end(&guard);
}

static bool curl_usable;

static void init_curl(void) {
    curl_usable = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

static void wake(void *multi) {
    curl_multi_wakeup(multi);
}

static void calm(void *multi) {
    curl_multi_poll(multi, NULL, 0, 0, NULL);
}

/* A multi handle that is cleaned up ignores SIGPIPE meanwhile, unless the handle that was added to it last
   said NOSIGNAL; and only handles without a share count. Two threads at that would leave it ignored. */
static bool introduce(struct transport *transport) {
    if (testing_off("nosignal-multi")) return true;
    CURL *easy = new_handle();
    bool ok = easy != NULL && curl_multi_add_handle(transport->multi, easy) == CURLM_OK &&
              curl_multi_remove_handle(transport->multi, easy) == CURLM_OK;
    if (ok) transport->pool[transport->pooled++] = easy;
    if (!ok) curl_easy_cleanup(easy);
    return ok;
}

const char *transport_ca_file(void) {
    return curl_version_info(CURLVERSION_NOW)->cainfo;
}

const char *transport_version(void) {
    return curl_version();
}

struct transport *transport_new(struct sbx_client *client, sbx_error *err) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_curl);
    struct transport *transport = calloc(1, sizeof *transport);
    int hint = wakeup_hint();
    if (transport != NULL) transport->multi = curl_usable ? curl_multi_init() : NULL;
    if (transport == NULL || transport->multi == NULL || !introduce(transport)) {
        if (transport != NULL) curl_multi_cleanup(transport->multi);
        free(transport);
        error_memory(err);
        return NULL;
    }
    bool unsealed = curl_version_info(CURLVERSION_NOW)->version_num < 0x080900;
    if (unsealed && !testing_off("wakeup-seal"))
        wakeup_seal(&(struct wakeup){wake, calm, transport->multi, hint});
    transport->client = client;
    handover_init(&transport->handover, client->runtime_dir);
    transport->timer = (struct io_timer){.fire = timer_fired, .ctx = transport};
    transport->kick = (struct io_timer){.fire = transfer_step_settle, .ctx = transport};
    curl_multi_setopt(transport->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(transport->multi, CURLMOPT_SOCKETDATA, transport);
    curl_multi_setopt(transport->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(transport->multi, CURLMOPT_TIMERDATA, transport);
    return transport;
}

void transport_free(struct transport *transport) {
    while (transport->pooled > 0)
        curl_easy_cleanup(transport->pool[--transport->pooled]);
    curl_multi_cleanup(transport->multi);
    handover_close(&transport->handover);
    io_timer_clear(&transport->client->io, &transport->timer);
    io_timer_clear(&transport->client->io, &transport->kick);
    free(transport);
}
