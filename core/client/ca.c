#include "client/ca.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/error.h"
#include "client/settings.h"
#include "util/testing.h"
#include "util/text.h"

static const char *const KNOWN[] = {
    "/etc/ssl/certs/ca-certificates.crt",                /* Debian, Ubuntu, Arch, Gentoo */
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* Fedora, RHEL */
    "/etc/pki/tls/certs/ca-bundle.crt",                  /* older ones of these */
    "/etc/ssl/ca-bundle.pem",                            /* openSUSE */
    "/var/lib/ca-certificates/ca-bundle.pem",            /* openSUSE without the link */
    "/etc/ssl/cert.pem",                                 /* Alpine, FreeBSD, macOS */
    "/usr/local/share/certs/ca-root-nss.crt",            /* FreeBSD with the package */
    "/opt/homebrew/etc/ca-certificates/cert.pem",        /* macOS with Homebrew */
};

/* errno says why not. */
static bool usable(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) return false;
    if (!S_ISREG(st.st_mode)) {
        errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
        return false;
    }
    return access(path, R_OK) == 0;
}

static sbx_status take(char **out, const char *path, sbx_error *err) {
    *out = strdup(path);
    return *out != NULL ? SBX_OK : error_memory(err);
}

static sbx_status take_given(char **out, const char *path, const char *from, sbx_error *err) {
    if (usable(path)) return take(out, path, err);
    return error_set(
        err, SBX_ERROR_INVALID,
        "%s names '%.200s' as the file of trusted certificates: %s. Name a readable PEM file, or none to "
        "trust what the system does",
        from, path, strerror(errno));
}

sbx_status ca_find(char **out, const char *option, const char *built_in, sbx_error *err) {
    static const char *const variables[] = {"CURL_CA_BUNDLE", "SSL_CERT_FILE"};
    *out = NULL;
    if (option != NULL) return take_given(out, option, "the option ca_file", err);
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        const char *path = settings_text(variables[i]);
        if (path != NULL) return take_given(out, path, variables[i], err);
    }
    if (built_in != NULL && access(built_in, R_OK) == 0) return take(out, built_in, err);
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++) {
        char path[4200];
        text_format(path, sizeof path, "%s%s", testing_directory(""), KNOWN[i]);
        if (usable(path)) return take(out, path, err);
    }
    return SBX_OK;
}
