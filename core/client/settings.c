#include "client/settings.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "client/endpoint.h"
#include "client/error.h"
#include "util/buf.h"
#include "util/text.h"

#define HUB          "https://huggingface.co"
#define HUB_STAGING  "https://hub-ci.huggingface.co"
#define ENDPOINT_MAX 1024
#define PATH_MOST    4095
#define LETTERS      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define DIGITS       "0123456789"

const char *settings_text(const char *variable) {
    const char *text = getenv(variable);
    return text != NULL && *text != '\0' ? text : NULL;
}

bool settings_true(const char *variable) {
    static const char *const words[] = {"1", "ON", "YES", "TRUE"};
    const char *text = settings_text(variable);
    for (size_t i = 0; text != NULL && i < sizeof words / sizeof *words; i++) {
        if (strcasecmp(text, words[i]) == 0) return true;
    }
    return false;
}

/* ---- The endpoint */

struct address {
    const char *from; /* for messages: what gave it */
    bool tls;
    const char *host;
    size_t host_len; /* without brackets and port */
};

static bool port_ok(const char *text, size_t len) {
    uint64_t port;
    return text_u64(text, len, &port) && port >= 1 && port <= 65535;
}

/* authority: HOST, HOST:PORT, [V6], [V6]:PORT */
static bool split_authority(struct address *a, const char *authority, size_t len) {
    if (len > 0 && *authority == '[') {
        const char *end = memchr(authority, ']', len);
        char text[INET6_ADDRSTRLEN];
        struct in6_addr v6;
        if (end == NULL) return false;
        a->host = authority + 1;
        a->host_len = (size_t)(end - a->host);
        if (a->host_len >= sizeof text) return false;
        memcpy(text, a->host, a->host_len);
        text[a->host_len] = '\0';
        size_t rest = len - (size_t)(end + 1 - authority);
        return inet_pton(AF_INET6, text, &v6) == 1 &&
               (rest == 0 || (end[1] == ':' && port_ok(end + 2, rest - 1)));
    }
    a->host = authority;
    a->host_len = strspn(authority, LETTERS DIGITS ".-_");
    if (a->host_len == 0 || *authority == '.' || *authority == '-') return false;
    return a->host_len == len ||
           (authority[a->host_len] == ':' && port_ok(authority + a->host_len + 1, len - a->host_len - 1));
}

static sbx_status refuse(const char *from, const char *text, const char *why, sbx_error *err) {
    return error_set(err, SBX_ERROR_INVALID, "%s is '%.200s': %s", from, text, why);
}

static sbx_status check_endpoint(struct address *a, const char *text, sbx_error *err) {
    /* What may hold a password is not repeated. */
    if (strchr(text, '@') != NULL)
        return error_set(err, SBX_ERROR_INVALID,
                         "%s holds an '@': give the Hub's address without a user and password", a->from);
    if (strpbrk(text, "?#") != NULL)
        return error_set(err, SBX_ERROR_INVALID,
                         "%s holds a '?' or '#': give the Hub's address without a query or fragment",
                         a->from);
    for (const char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7f || strchr("\\\"<>^`{|}", *c) != NULL)
            return refuse(a->from, text, "it holds a character that no address has", err);
    }
    a->tls = strncasecmp(text, "https://", 8) == 0;
    if (!a->tls && strncasecmp(text, "http://", 7) != 0)
        return refuse(a->from, text, "it must begin with https://, as in " HUB, err);
    const char *authority = text + (a->tls ? 8 : 7);
    if (!split_authority(a, authority, strcspn(authority, "/")))
        return refuse(a->from, text, "https:// must be followed by a host and at most a port, as in " HUB,
                      err);
    if (!a->tls && !endpoint_loopback(a->host, a->host_len) && !settings_true("HFSANDBOX_ALLOW_HTTP"))
        return refuse(a->from, text,
                      "the token would cross the network in clear text; use https://, or set "
                      "HFSANDBOX_ALLOW_HTTP=1 where that network is trusted",
                      err);
    return SBX_OK;
}

sbx_status settings_endpoint(char **out, const char *option, sbx_error *err) {
    *out = NULL;
    struct address a = {.from = "the option hub_endpoint"};
    const char *text = option;
    if (text == NULL) {
        a.from = "HF_ENDPOINT";
        text = settings_text("HF_ENDPOINT");
    }
    if (text == NULL) text = settings_true("HUGGINGFACE_CO_STAGING") ? HUB_STAGING : HUB;
    size_t len = strlen(text);
    if (len > ENDPOINT_MAX)
        return error_set(err, SBX_ERROR_INVALID, "%s has %zu bytes: an address has at most %d", a.from, len,
                         ENDPOINT_MAX);
    sbx_status status = check_endpoint(&a, text, err);
    if (status != SBX_OK) return status;
    while (text[len - 1] == '/')
        len--;
    *out = strndup(text, len);
    if (*out == NULL) return error_memory(err);
    for (char *c = *out; *c != ':'; c++)
        *c = (char)tolower((unsigned char)*c);
    return SBX_OK;
}

bool settings_offline(void) {
    return settings_true(settings_text("HF_HUB_OFFLINE") != NULL ? "HF_HUB_OFFLINE" : "TRANSFORMERS_OFFLINE");
}

bool settings_telemetry(void) {
    return !settings_true("HF_HUB_DISABLE_TELEMETRY") && !settings_true("DISABLE_TELEMETRY") &&
           !settings_true("DO_NOT_TRACK") && !settings_offline();
}

/* ---- Paths */

static bool put_home(struct buf *out) {
    const char *home = settings_text("HOME");
    if (home != NULL) return buf_puts(out, home);
    struct passwd entry, *found = NULL;
    char text[4096];
    if (getpwuid_r(getuid(), &entry, text, sizeof text, &found) != 0 || found == NULL) return false;
    return found->pw_dir != NULL && *found->pw_dir != '\0' && buf_puts(out, found->pw_dir);
}

/* at: behind a '$'. Appends the variable's value and returns behind its name; NULL: no variable is named
 * there. */
static const char *put_variable(struct buf *out, const char *at) {
    char name[128];
    bool braces = *at == '{';
    at += braces;
    size_t len = strspn(at, LETTERS DIGITS "_");
    if (len == 0 || len >= sizeof name || (braces && at[len] != '}')) return NULL;
    memcpy(name, at, len);
    name[len] = '\0';
    const char *value = getenv(name);
    if (value == NULL) return NULL;
    buf_puts(out, value);
    return at + len + braces;
}

char *settings_expand(const char *path) {
    struct buf out = BUF_INIT(PATH_MOST);
    if (path[0] == '~' && (path[1] == '/' || path[1] == '\0')) {
        path++;
        if (!put_home(&out)) out.failed = true;
    }
    while (*path != '\0' && !out.failed) {
        const char *behind = *path == '$' ? put_variable(&out, path + 1) : NULL;
        if (behind == NULL) {
            buf_putc(&out, *path);
            behind = path + 1;
        }
        path = behind;
    }
    char *whole = out.failed ? NULL : buf_take(&out);
    buf_free(&out);
    return whole;
}

char *settings_hf_home(void) {
    const char *home = settings_text("HF_HOME");
    if (home != NULL) return settings_expand(home);
    const char *cache = settings_text("XDG_CACHE_HOME");
    struct buf path = BUF_INIT(PATH_MOST);
    buf_puts(&path, cache != NULL ? cache : "~/.cache");
    buf_puts(&path, "/huggingface");
    char *whole = path.failed ? NULL : settings_expand(path.data);
    buf_free(&path);
    return whole;
}
