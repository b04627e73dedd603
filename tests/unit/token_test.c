// links: client
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/token.h"

static char root[] = "/tmp/token-XXXXXX", path[64], home_file[64];

static void set(const char *name, const char *value) {
    if (value != NULL)
        setenv(name, value, 1);
    else
        unsetenv(name);
}

static void begin(void) {
    static const char *const names[] = {
        "HF_TOKEN",         "HUGGING_FACE_HUB_TOKEN",        "HF_TOKEN_PATH",
        "HF_OIDC_RESOURCE", "HF_HUB_DISABLE_IMPLICIT_TOKEN", "XDG_CACHE_HOME"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
    set("HF_HOME", root);
    unlink(path);
    unlink(home_file);
}

static void make_root(void) {
    CHECK(mkdtemp(root) != NULL);
    snprintf(path, sizeof path, "%s/elsewhere", root);
    snprintf(home_file, sizeof home_file, "%s/token", root);
}

static void remove_root(void) {
    begin();
    CHECK_EQ(rmdir(root), 0);
}

static void put(const char *name, const void *data, size_t len) {
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, data, len) == (ssize_t)len);
    close(fd);
}

static void found(const char *option, const char *token, const char *from) {
    char *got = NULL;
    const char *source = NULL;
    sbx_error err = {0};
    CHECK_EQ(token_find(&got, &source, option, &err), SBX_OK);
    CHECK_STR(got, token);
    CHECK_STR(source, from);
    token_free(got);
}

static void none(const char *option, sbx_status status, const char *because) {
    char *got = (char *)1;
    const char *source = "x";
    sbx_error err = {0};
    CHECK_EQ(token_find(&got, &source, option, &err), status);
    CHECK(got == NULL && source == NULL);
    if (strstr(err.message, because) == NULL) printf("%s: %s\n", because, err.message);
    CHECK(strstr(err.message, because) != NULL);
    CHECK(strstr(err.message, "hf_") == NULL);
    CHECK_EQ(token_find(&got, NULL, option, NULL), status);
}

static void order(void) {
    begin();
    none(NULL, SBX_ERROR_AUTH, "give the option hub_token, set HF_TOKEN, or save one with `hf auth login`");
    put(home_file, "hf_home\n", 8);
    found(NULL, "hf_home", "the token file");
    set("HF_TOKEN_PATH", path);
    none(NULL, SBX_ERROR_AUTH, "none was found");
    put(path, "hf_path", 7);
    found(NULL, "hf_path", "the file at HF_TOKEN_PATH");
    set("HF_TOKEN_PATH", "$HF_HOME/token");
    found(NULL, "hf_home", "the file at HF_TOKEN_PATH");
    set("HF_TOKEN_PATH", "");
    found(NULL, "hf_home", "the token file");
    set("HUGGING_FACE_HUB_TOKEN", "hf_old");
    found(NULL, "hf_old", "HUGGING_FACE_HUB_TOKEN");
    set("HF_TOKEN", "");
    found(NULL, "hf_old", "HUGGING_FACE_HUB_TOKEN");
    set("HF_TOKEN", " \r\n");
    found(NULL, "hf_old", "HUGGING_FACE_HUB_TOKEN");
    set("HF_TOKEN", "hf_new");
    found(NULL, "hf_new", "HF_TOKEN");
    found("hf_option", "hf_option", "the option hub_token");
}

static void cleaning(void) {
    begin();
    set("HF_TOKEN", "\r\n \t\v\fhf_\r\nabc\n\n \f\r");
    found(NULL, "hf_abc", "HF_TOKEN");
    static const char *const bad[] = {"hf_a b", "hf_\xc3\xa9", "hf_\x7f", "hf_\x01", "hf_a\tb"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        set("HF_TOKEN", bad[i]);
        none(NULL, SBX_ERROR_INVALID, "HF_TOKEN holds characters");
        none(bad[i], SBX_ERROR_INVALID, "the option hub_token holds characters");
    }
    none("hf_a\n", SBX_ERROR_INVALID, "the option hub_token holds characters");
    none("", SBX_ERROR_INVALID, "the option hub_token is empty");
}

static void forbidden(void) {
    begin();
    set("HF_TOKEN", "hf_new");
    set("HF_OIDC_RESOURCE", "me/repository");
    none(NULL, SBX_ERROR_UNSUPPORTED, "unset it and set HF_TOKEN");
    found("hf_option", "hf_option", "the option hub_token");
    set("HF_HUB_DISABLE_IMPLICIT_TOKEN", "YES");
    none(NULL, SBX_ERROR_AUTH, "HF_HUB_DISABLE_IMPLICIT_TOKEN");
    found("hf_option", "hf_option", "the option hub_token");
    set("HF_HUB_DISABLE_IMPLICIT_TOKEN", "0");
    set("HF_OIDC_RESOURCE", "");
    found(NULL, "hf_new", "HF_TOKEN");
}

static void files(void) {
    begin();
    put(home_file, "", 0);
    none(NULL, SBX_ERROR_AUTH, "none was found");
    put(home_file, " \n\n", 3);
    none(NULL, SBX_ERROR_AUTH, "none was found");
    put(home_file, "hf_a\0b", 6);
    none(NULL, SBX_ERROR_INVALID, "the token file holds characters");

    char *large = malloc(65537);
    memset(large, 'x', 65537);
    put(home_file, large, 65537);
    none(NULL, SBX_ERROR_INVALID, "at most 65536 bytes");
    memset(large, '\n', 65537);
    memcpy(large + 65530, "hf_end", 6);
    put(home_file, large, 65536);
    found(NULL, "hf_end", "the token file");
    free(large);

    unlink(home_file);
    CHECK_EQ(mkdir(home_file, 0700), 0);
    none(NULL, SBX_ERROR_INVALID, home_file);
    rmdir(home_file);
    CHECK_EQ(mkfifo(home_file, 0600), 0);
    none(NULL, SBX_ERROR_INVALID, home_file);
    unlink(home_file);
    CHECK_EQ(symlink(home_file, home_file), 0);
    none(NULL, SBX_ERROR_SYSTEM, home_file);
    unlink(home_file);
    set("HF_TOKEN_PATH", "/dev/null/token");
    none(NULL, SBX_ERROR_AUTH, "none was found");
    set("HF_TOKEN_PATH", "/dev/null");
    none(NULL, SBX_ERROR_INVALID, "/dev/null");
    int before = dup(0);
    close(before);
    for (int i = 0; i < 50; i++)
        none(NULL, SBX_ERROR_INVALID, "/dev/null");
    int after = dup(0);
    close(after);
    CHECK_EQ(after, before);
    token_free(NULL);
}

CHECK_MAIN(make_root, order, cleaning, forbidden, files, remove_root)
