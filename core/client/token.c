#include "client/token.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/error.h"
#include "client/settings.h"
#include "util/buf.h"
#include "util/scope.h"

#define FILE_MAX 65536

void token_free(char *token) {
    if (token == NULL) return;
    explicit_bzero(token, strlen(token));
    free(token);
}

static bool is_visible(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= ' ' || text[i] >= 0x7f) return false;
    }
    return true;
}

/* Takes a copy of what is left of the text after cleaning: SBX_DONE when that is nothing. */
static sbx_status take(char **out, const char *text, size_t len, const char *source, sbx_error *err) {
    char *token = malloc(len + 1);
    if (token == NULL) return error_memory(err);
    size_t kept = 0;
    for (size_t i = 0; i < len; i++) {
        bool outer = kept == 0 && memchr(" \t\v\f", text[i], 4) != NULL;
        if (text[i] != '\r' && text[i] != '\n' && !outer) token[kept++] = text[i];
    }
    while (kept > 0 && memchr(" \t\v\f", token[kept - 1], 4) != NULL)
        kept--;
    sbx_status status = kept > 0 ? SBX_OK : SBX_DONE;
    if (!is_visible(token, kept))
        status =
            error_set(err, SBX_ERROR_INVALID,
                      "%s holds characters that no token has (visible ASCII alone): copy it again from the "
                      "Hub's settings",
                      source);
    if (status != SBX_OK) explicit_bzero(token, len);
    token[kept] = '\0';
    if (status == SBX_OK)
        *out = token;
    else
        free(token);
    return status;
}

/* SBX_DONE: there is no such file, or nothing in it. */
static sbx_status read_file(char **out, const char *path, const char *source, sbx_error *err) {
    /* Not to wait for a writer when it is a FIFO. */
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) return SBX_DONE;
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return error_system(err, errno,
                            "%s, %.200s, cannot be read; set HF_TOKEN, or HF_TOKEN_PATH to another file",
                            source, path);
    if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX)
        return error_set(err, SBX_ERROR_INVALID,
                         "%s, %.200s, is not a file of at most %d bytes: set HF_TOKEN_PATH to one", source,
                         path, FILE_MAX);
    char *text = malloc(FILE_MAX);
    if (text == NULL) return error_memory(err);
    size_t len = 0;
    ssize_t n = 1;
    while (len < FILE_MAX && n != 0) {
        n = read(fd, text + len, FILE_MAX - len);
        if (n < 0 && errno != EINTR) break;
        if (n > 0) len += (size_t)n;
    }
    sbx_status status = n < 0 ? error_system(err, errno, "%s, %.200s, cannot be read", source, path)
                              : take(out, text, len, source, err);
    explicit_bzero(text, len);
    free(text);
    return status;
}

static sbx_status from_file(char **out, const char **source, sbx_error *err) {
    const char *path = settings_text("HF_TOKEN_PATH");
    struct buf whole = BUF_INIT(4200);
    char *base = path != NULL ? settings_expand(path) : settings_hf_home();
    *source = path != NULL ? "the file at HF_TOKEN_PATH" : "the token file";
    sbx_status status = SBX_DONE;
    if (base != NULL) {
        buf_puts(&whole, base);
        if (path == NULL) buf_puts(&whole, "/token");
        status = whole.failed ? error_memory(err) : read_file(out, whole.data, *source, err);
    }
    free(base);
    buf_free(&whole);
    return status;
}

static sbx_status look_up(char **out, const char **source, sbx_error *err) {
    if (settings_true("HF_HUB_DISABLE_IMPLICIT_TOKEN"))
        return error_set(
            err, SBX_ERROR_AUTH,
            "a Hugging Face token is required, and HF_HUB_DISABLE_IMPLICIT_TOKEN forbids to look for "
            "one: give it as the option hub_token, or unset that variable");
    /* The Hub's client would prefer the token of that flow: another one in its place opens other things. */
    if (settings_text("HF_OIDC_RESOURCE") != NULL)
        return error_set(
            err, SBX_ERROR_UNSUPPORTED,
            "HF_OIDC_RESOURCE is set, and getting a token through OIDC is not supported: unset it and "
            "set HF_TOKEN, or give the option hub_token");
    static const char *const variables[] = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"};
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        const char *text = settings_text(variables[i]);
        *source = variables[i];
        sbx_status status = text != NULL ? take(out, text, strlen(text), variables[i], err) : SBX_DONE;
        if (status != SBX_DONE) return status;
    }
    sbx_status status = from_file(out, source, err);
    if (status != SBX_DONE) return status;
    return error_set(
        err, SBX_ERROR_AUTH,
        "a Hugging Face token is required, and none was found: give the option hub_token, set HF_TOKEN, "
        "or save one with `hf auth login` (it is read from the file at HF_TOKEN_PATH, by default "
        "$HF_HOME/token)");
}

sbx_status token_find(char **out, const char **source, const char *option, sbx_error *err) {
    const char *found = "the option hub_token";
    *out = NULL;
    sbx_status status = SBX_OK;
    if (option == NULL) {
        status = look_up(out, &found, err);
    } else if (*option == '\0' || !is_visible(option, strlen(option))) {
        status =
            error_set(err, SBX_ERROR_INVALID,
                      "%s %s: give the token alone, without white space, or leave the option out to have it "
                      "looked for",
                      found, *option == '\0' ? "is empty" : "holds characters that no token has");
    } else {
        *out = strdup(option);
        if (*out == NULL) status = error_memory(err);
    }
    if (source != NULL) *source = status == SBX_OK ? found : NULL;
    return status;
}
