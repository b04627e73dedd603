/* One socket, plain or TLS, that never blocks. The only door to OpenSSL. */
#ifndef HUB_PROXY_STREAM_H
#define HUB_PROXY_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

struct ssl_st;

/* Edge-triggered: readable and writable say what the socket may still do, and are cleared when it refuses. */
struct stream {
    int fd;
    struct ssl_st *ssl; /* NULL = plain */
    bool handshaken;
    bool readable, writable;
    bool ended, broken; /* the peer's end of stream; anything worse */
};

bool stream_tls_setup(const char *certificate, const char *key);
void stream_tls_free(void);

bool stream_open(struct stream *s, int fd, bool tls);
void stream_close(struct stream *s, bool reset);
bool stream_handshake(struct stream *s);     /* true when bytes can pass; false for now, or broken */
const char *stream_sni(const struct stream *s); /* the name that the client asked for; NULL when none */
void stream_send_end(struct stream *s);      /* the end of what is written */

/* Bytes read or written; 0 when it cannot now, or ended, or is broken. */
size_t stream_read(struct stream *s, void *data, size_t len);
size_t stream_write(struct stream *s, const struct iovec *parts, int count);

#endif
