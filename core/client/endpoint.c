#include "client/endpoint.h"

#include <arpa/inet.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "client/hub_error.h"
#include "client/transport.h"
#include "wire/names.h"

#define BEARER "Authorization: Bearer "

static bool copy_string(char **out, const char *text) {
    *out = strdup(text);
    return *out != NULL;
}

static bool name_it(struct endpoint *out, const char *url, const char *path) {
    static atomic_ulong counter;
    char unique[64];
    if (out->kind == ENDPOINT_URL) {
        if (!copy_string(&out->url, url)) return false;
        for (size_t len = strlen(url); len > 0 && out->url[len - 1] == '/'; len--)
            out->url[len - 1] = '\0';
        return true;
    }
    /* A host name of its own: libcurl looks for a used connection by host name first. */
    unsigned long number = atomic_fetch_add(&counter, 1);
    snprintf(unique, sizeof unique, "http://s%lu.invalid", number);
    if (!copy_string(&out->url, unique)) return false;
    snprintf(unique, sizeof unique, "/hfsandbox/%lu", number);
    return copy_string(&out->path, out->kind == ENDPOINT_UNIX ? path : unique);
}

static bool set_header(char **out, const char *name, const char *token) {
    size_t room = strlen(name) + strlen(token) + 1;
    *out = malloc(room);
    if (*out == NULL) return false;
    snprintf(*out, room, "%s%s", name, token);
    return true;
}

static bool set_token(struct endpoint *out, const char *token) {
    return copy_string(&out->token, token) && set_header(&out->token_header, HEADER_TOKEN ": ", token);
}

void endpoint_redact(const struct endpoint *endpoint, char *text) {
    const char *bearer = endpoint->bearer_header;
    const char *const secrets[] = {endpoint->token != NULL ? endpoint->token : "",
                                   bearer != NULL ? bearer + sizeof BEARER - 1 : "", NULL};
    hub_error_redact(text, secrets);
}

sbx_status endpoint_set_bearer(struct endpoint *endpoint, const char *token, sbx_error *err) {
    bool ok = set_header(&endpoint->bearer_header, BEARER, token);
    return ok ? SBX_OK : error_memory(err);
}

sbx_status endpoint_set_prefix(struct endpoint *endpoint, const char *prefix, sbx_error *err) {
    return copy_string(&endpoint->prefix, prefix) ? SBX_OK : error_memory(err);
}

const char *endpoint_prefix(const struct endpoint *endpoint) {
    return endpoint->prefix != NULL ? endpoint->prefix : "/v1/";
}

sbx_status endpoint_make(struct endpoint *out, enum endpoint_kind kind, const char *url, const char *path,
                         int control_fd, const char *token, unsigned features, sbx_error *err) {
    memset(out, 0, sizeof *out);
    out->kind = kind;
    out->control_fd = control_fd;
    out->features = features;
    for (const char *c = token; c != NULL && *c != '\0'; c++) {
        if (*c <= ' ' || *c == 0x7f) {
            return error_set(err, SBX_ERROR_INVALID,
                             "the token has a space, a control character or a byte that is not ASCII in it");
        }
    }
    if (name_it(out, url, path) && (token == NULL || *token == '\0' || set_token(out, token))) return SBX_OK;
    endpoint_free(out);
    return error_memory(err);
}

static void wipe(char *text) {
    if (text != NULL) explicit_bzero(text, strlen(text));
    free(text);
}

void endpoint_free(struct endpoint *endpoint) {
    transport_pool_leave(endpoint->pool);
    free(endpoint->url);
    free(endpoint->prefix);
    free(endpoint->path);
    wipe(endpoint->token);
    wipe(endpoint->token_header);
    wipe(endpoint->bearer_header);
    memset(endpoint, 0, sizeof *endpoint);
    endpoint->control_fd = -1;
}

const sbx_error *endpoint_why(const struct endpoint *endpoint, int64_t since) {
    return endpoint->why != NULL ? endpoint->why(endpoint->trouble_ctx, since) : NULL;
}

const char *endpoint_where(const struct endpoint *endpoint) {
    switch (endpoint->kind) {
    case ENDPOINT_URL:
        return endpoint->url;
    case ENDPOINT_UNIX:
        return endpoint->path;
    case ENDPOINT_CONTROL:
        break;
    }
    return "the sandbox's agent";
}

bool endpoint_loopback(const char *host, size_t len) {
    char text[INET6_ADDRSTRLEN];
    struct in_addr v4;
    struct in6_addr v6;
    if (len >= sizeof text) return false;
    memcpy(text, host, len);
    text[len] = '\0';
    if (strcasecmp(text, "localhost") == 0) return true;
    if (inet_pton(AF_INET, text, &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, text, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

bool endpoint_is_local(const struct endpoint *endpoint) {
    if (endpoint->kind != ENDPOINT_URL) return true;
    const char *host = strstr(endpoint->url, "://");
    if (host == NULL) return false;
    host += 3;
    if (*host == '[') return endpoint_loopback(host + 1, strcspn(host + 1, "]"));
    return endpoint_loopback(host, strcspn(host, ":/?#"));
}
