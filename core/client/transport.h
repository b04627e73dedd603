/* libcurl behind a few functions; transport.c is its only door. What a transfer means is decided in
 * transfer.c. */
#ifndef CLIENT_TRANSPORT_H
#define CLIENT_TRANSPORT_H

#include "client/handover.h"
#include "client/transfer.h"

#define TRANSPORT_POOL   32 /* idle libcurl handles kept */
#define TRANSPORT_REASON 256

struct transport {
    struct sbx_client *client;
    void *multi;
    struct io_timer timer; /* libcurl's */
    struct io_timer kick;  /* deferred work */
    bool inside;           /* libcurl is on the stack: it refuses most calls from its own callbacks */
    bool again;            /* there is deferred work */
    bool connecting;       /* some transfer awaits its handover */
    struct handover handover;
    size_t tls;                 /* transfers over TLS */
    struct transfer *transfers; /* all of the client */
    void *pool[TRANSPORT_POOL];
    size_t pooled;
};

struct transfer {
    struct transport *transport;
    struct transfer *next, *prev;
    struct transfer_spec spec; /* without target and headers */
    struct transfer_head head;
    bool head_done;
    size_t head_bytes;
    bool canceled; /* to be removed; no callback any more */
    void *owned;   /* freed with it */
    bool paused, resume;
    bool stopped, silent;
    int64_t started_us;
    int64_t heard_ms; /* when something last moved */
    int64_t sent;     /* bytes of the body, when that was last looked at */
    struct io_timer silence;
    /* transport.c's */
    void *easy;
    struct curl_slist *headers;
    struct transport_pool *pool;
    bool added, tls;
    unsigned sendings;            /* of the request, libcurl's own included */
    char handover[HANDOVER_NAME]; /* of a connection to an attached agent, until it is handed over; "" = none
                                   */
    char reason[TRANSPORT_REASON];
};

struct transport_result {
    bool ok;
    bool connected;    /* something of the request may have reached the peer */
    sbx_status status; /* when not ok */
    bool untrusted;    /* the peer's certificate is not accepted */
    const char *reason;
    int system_errno;
};

/* The certificates that libcurl trusts by itself; NULL = it says none. */
const char *transport_ca_file(void);
const char *transport_version(void); /* of libcurl, with its TLS */

/* The endpoint is gone: its idle connections are closed, now or when the last transfer over it has ended.
 * NULL does nothing. */
void transport_pool_leave(struct transport_pool *pool);
/* From now on `to`, which has none yet, uses the connections of `from`: both lead to the same agent. */
void transport_pool_share(struct endpoint *to, struct endpoint *from);

struct transport *transport_new(struct sbx_client *client, sbx_error *err);
void transport_free(struct transport *transport); /* no transfer may be left */

bool transport_prepare(struct transfer *t, const struct transfer_spec *spec); /* false: no memory; drop it */
bool transport_add(struct transfer *t);                                       /* hands it to libcurl */
void transport_drop(struct transfer *t); /* takes it back, releases what it has there */
void transport_unpause(struct transfer *t);
bool transport_has_sent(struct transfer *t); /* more of its body than at the last call */
struct transfer *transport_finished(struct transport *transport,
                                    struct transport_result *out); /* NULL: none */

#endif
