// links: client
#include "check.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/ca.h"
#include "util/rmtree.h"

static char root[] = "/tmp/ca-XXXXXX", file[64], other[64];

static const char *below(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s%s", root, name);
    return path;
}

static void put(const char *name) {
    char path[256];
    strcpy(path, below(name));
    for (char *slash = strchr(path + strlen(root) + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

static void begin(void) {
    CHECK(mkdtemp(root) != NULL);
    put("/file.pem");
    put("/other.pem");
    strcpy(file, below("/file.pem"));
    strcpy(other, below("/other.pem"));
    unsetenv("CURL_CA_BUNDLE");
    unsetenv("SSL_CERT_FILE");
    setenv("SBX_TEST_DIRECTORY", root, 1);
}

static void found(const char *option, const char *built_in, const char *expected) {
    char *got = (char *)1;
    sbx_error err = {0};
    CHECK_EQ(ca_find(&got, option, built_in, &err), SBX_OK);
    if (expected == NULL)
        CHECK(got == NULL);
    else
        CHECK_STR(got, expected);
    free(got);
}

static void refused(const char *option, const char *from, const char *value) {
    char *got = (char *)1;
    sbx_error err = {0};
    CHECK_EQ(ca_find(&got, option, file, &err), SBX_ERROR_INVALID);
    CHECK_EQ(ca_find(&got, option, file, NULL), SBX_ERROR_INVALID);
    CHECK(got == NULL);
    CHECK(strstr(err.message, from) == err.message && strstr(err.message, value) != NULL);
}

static void given(void) {
    found(file, NULL, file);
    found(file, other, file);
    setenv("SSL_CERT_FILE", other, 1);
    found(NULL, file, other);
    setenv("CURL_CA_BUNDLE", file, 1);
    found(NULL, NULL, file);
    found(other, NULL, other);
    setenv("CURL_CA_BUNDLE", "", 1);
    found(NULL, NULL, other);
    setenv("SSL_CERT_FILE", below("/missing"), 1);
    refused(NULL, "SSL_CERT_FILE", "missing");
    found(file, NULL, file);
    setenv("CURL_CA_BUNDLE", root, 1);
    refused(NULL, "CURL_CA_BUNDLE", root);
    CHECK_EQ(mkfifo(below("/fifo"), 0600), 0);
    refused(below("/fifo"), "the option ca_file", "/fifo");
    refused("", "the option ca_file", "''");
    refused("/dev/null", "the option ca_file", "/dev/null");
    unsetenv("CURL_CA_BUNDLE");
    unsetenv("SSL_CERT_FILE");
}

static void places(void) {
    found(NULL, NULL, NULL);
    found(NULL, below("/missing"), NULL);
    static const char *const known[] = {"/usr/local/share/certs/ca-root-nss.crt", "/etc/ssl/cert.pem",
                                        "/etc/ssl/ca-bundle.pem", "/etc/pki/tls/certs/ca-bundle.crt",
                                        "/etc/ssl/certs/ca-certificates.crt"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        put(known[i]);
        char expected[256];
        strcpy(expected, below(known[i]));
        found(NULL, NULL, expected);
        found(NULL, below("/missing"), expected);
        found(NULL, file, file);
    }
    /* A directory in such a place is passed over. */
    CHECK_EQ(unlink(below("/etc/ssl/certs/ca-certificates.crt")), 0);
    CHECK_EQ(mkdir(below("/etc/ssl/certs/ca-certificates.crt"), 0700), 0);
    char expected[256];
    strcpy(expected, below("/etc/pki/tls/certs/ca-bundle.crt"));
    found(NULL, NULL, expected);
}

static void end(void) {
    int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(rmtree_contents(fd));
    close(fd);
    CHECK_EQ(rmdir(root), 0);
}

CHECK_MAIN(begin, given, places, end)
