#include "proxy_stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static SSL_CTX *context;

/* Clients that offer HTTP/2 get HTTP/1.1. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *unused) {
    static const unsigned char http1[] = "\x08http/1.1";
    (void)ssl, (void)unused;
    return SSL_select_next_proto((unsigned char **)(size_t)out, out_len, http1, sizeof http1 - 1, in,
                                 in_len) == OPENSSL_NPN_NEGOTIATED
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_NOACK;
}

bool stream_tls_setup(const char *certificate, const char *key) {
    SSL_CTX *fresh = SSL_CTX_new(TLS_server_method());
    if (fresh == NULL) return false;
    SSL_CTX_set_min_proto_version(fresh, TLS1_2_VERSION);
    SSL_CTX_set_mode(fresh, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(fresh, SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_alpn_select_cb(fresh, choose_protocol, NULL);
    if (SSL_CTX_use_certificate_chain_file(fresh, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(fresh, key, SSL_FILETYPE_PEM) != 1) {
        SSL_CTX_free(fresh);
        return false;
    }
    stream_tls_free();
    context = fresh;
    return true;
}

void stream_tls_free(void) {
    SSL_CTX_free(context);
    context = NULL;
}

bool stream_open(struct stream *s, int fd, bool tls) {
    int yes = 1;
    *s = (struct stream){.fd = fd, .handshaken = !tls};
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (!tls) return true;
    s->ssl = context == NULL ? NULL : SSL_new(context);
    if (s->ssl == NULL || SSL_set_fd(s->ssl, fd) != 1) return false;
    SSL_set_accept_state(s->ssl);
    return true;
}

void stream_close(struct stream *s, bool reset) {
    if (s->fd < 0) return;
    if (reset) {
        struct linger none = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    }
    SSL_free(s->ssl);
    s->ssl = NULL;
    close(s->fd);
    s->fd = -1;
}

const char *stream_sni(const struct stream *s) {
    return s->ssl == NULL ? NULL : SSL_get_servername(s->ssl, TLSEXT_NAMETYPE_host_name);
}

/* What OpenSSL says about a call that did nothing. A TLS connection may want the other direction first; both
   flags are cleared only by what it asks for. */
static void sort_out(struct stream *s, int result) {
    switch (SSL_get_error(s->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        s->readable = false;
        break;
    case SSL_ERROR_WANT_WRITE:
        s->writable = false;
        break;
    case SSL_ERROR_ZERO_RETURN:
        s->ended = true;
        break;
    default:
        s->broken = true;
    }
}

bool stream_handshake(struct stream *s) {
    if (s->handshaken || s->broken || s->ended) return s->handshaken;
    ERR_clear_error();
    int result = SSL_do_handshake(s->ssl);
    if (result == 1)
        s->handshaken = true;
    else
        sort_out(s, result);
    return s->handshaken;
}

void stream_send_end(struct stream *s) {
    if (s->ssl != NULL && s->handshaken && !s->broken) {
        ERR_clear_error();
        (void)SSL_shutdown(s->ssl);
    }
    (void)shutdown(s->fd, SHUT_WR);
}

static size_t read_tls(struct stream *s, void *data, size_t len) {
    size_t got = 0;
    while (got < len) {
        size_t n = 0;
        ERR_clear_error();
        int result = SSL_read_ex(s->ssl, (char *)data + got, len - got, &n);
        got += n;
        if (result == 1) continue;
        sort_out(s, result);
        break;
    }
    return got;
}

size_t stream_read(struct stream *s, void *data, size_t len) {
    if (s->ended || s->broken || !s->readable || len == 0) return 0;
    if (s->ssl != NULL) return read_tls(s, data, len);
    for (;;) {
        ssize_t n = recv(s->fd, data, len, 0);
        if (n > 0) return (size_t)n;
        if (n == 0)
            s->ended = true;
        else if (errno == EINTR)
            continue;
        else if (errno == EAGAIN)
            s->readable = false;
        else
            s->broken = true;
        return 0;
    }
}

static size_t write_tls(struct stream *s, const struct iovec *parts, int count) {
    size_t done = 0;
    for (int i = 0; i < count; i++)
        for (size_t from = 0; from < parts[i].iov_len;) {
            size_t n = 0;
            ERR_clear_error();
            int result =
                SSL_write_ex(s->ssl, (const char *)parts[i].iov_base + from, parts[i].iov_len - from, &n);
            if (result != 1) {
                sort_out(s, result);
                return done;
            }
            from += n;
            done += n;
        }
    return done;
}

size_t stream_write(struct stream *s, const struct iovec *parts, int count) {
    if (s->broken || !s->writable || count == 0) return 0;
    if (s->ssl != NULL) return write_tls(s, parts, count);
    struct msghdr message = {.msg_iov = (struct iovec *)(size_t)parts, .msg_iovlen = (size_t)count};
    for (;;) {
        ssize_t n = sendmsg(s->fd, &message, MSG_NOSIGNAL);
        if (n >= 0) return (size_t)n;
        if (errno == EINTR) continue;
        if (errno == EAGAIN)
            s->writable = false;
        else
            s->broken = true;
        return 0;
    }
}
