// links: client
#include "check.h"

#include <pwd.h>
#include <unistd.h>

#include "client/endpoint.h"
#include "client/settings.h"

static void set(const char *name, const char *value) {
    if (value != NULL)
        setenv(name, value, 1);
    else
        unsetenv(name);
}

static void clear(void) {
    static const char *const names[] = {
        "HF_ENDPOINT",       "HUGGINGFACE_CO_STAGING", "HFSANDBOX_ALLOW_HTTP",
        "HF_HUB_OFFLINE",    "TRANSFORMERS_OFFLINE",   "HF_HUB_DISABLE_TELEMETRY",
        "DISABLE_TELEMETRY", "DO_NOT_TRACK",           "HF_HOME",
        "XDG_CACHE_HOME"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
    set("HOME", "/home/me");
}

static void truth(void) {
    static const char *const yes[] = {"1", "on", "ON", "yes", "Yes", "TRUE", "true", "tRuE"};
    static const char *const no[] = {NULL, "",    "0",  "2",     "11", " 1",
                                     "1 ", "off", "no", "false", "y",  "truth"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        set("SBX_UNIT", yes[i]);
        CHECK(settings_true("SBX_UNIT"));
    }
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        set("SBX_UNIT", no[i]);
        CHECK(!settings_true("SBX_UNIT"));
    }
}

static void endpoint(const char *option, const char *expected) {
    char *got = NULL;
    sbx_error err = {0};
    CHECK_EQ(settings_endpoint(&got, option, &err), SBX_OK);
    CHECK_STR(got, expected);
    free(got);
}

static void refused(const char *option, const char *because) {
    char *got = (char *)1;
    sbx_error err = {0};
    CHECK_EQ(settings_endpoint(&got, option, &err), SBX_ERROR_INVALID);
    CHECK(got == NULL);
    if (strstr(err.message, because) == NULL) printf("%s: %s\n", because, err.message);
    CHECK(strstr(err.message, because) != NULL);
    CHECK(strstr(err.message, "pass:word") == NULL);
    CHECK_EQ(settings_endpoint(&got, option, NULL), SBX_ERROR_INVALID);
}

static void endpoint_order(void) {
    clear();
    endpoint(NULL, "https://huggingface.co");
    set("HUGGINGFACE_CO_STAGING", "yes");
    endpoint(NULL, "https://hub-ci.huggingface.co");
    set("HF_ENDPOINT", "");
    endpoint(NULL, "https://hub-ci.huggingface.co");
    set("HF_ENDPOINT", "https://hub.example///");
    endpoint(NULL, "https://hub.example");
    endpoint("https://other.example/", "https://other.example");
    set("HF_ENDPOINT", "hub.example");
    refused(NULL, "HF_ENDPOINT is 'hub.example'");
    refused("", "the option hub_endpoint");
}

static void endpoint_forms(void) {
    clear();
    endpoint("HTTPS://Hub.Example:8443/hf/v2//", "https://Hub.Example:8443/hf/v2");
    endpoint("http://127.0.0.1:5000/p", "http://127.0.0.1:5000/p");
    endpoint("http://127.255.0.9", "http://127.255.0.9");
    endpoint("http://localhost:1", "http://localhost:1");
    endpoint("http://LOCALHOST/", "http://LOCALHOST");
    endpoint("http://[::1]:80", "http://[::1]:80");
    endpoint("https://[2001:db8::1]", "https://[2001:db8::1]");
    static const char *const bad[] = {"https://",
                                      "https:///",
                                      "https:///path",
                                      "https://:443",
                                      "https://a:",
                                      "https://a:0",
                                      "https://a:65536",
                                      "https://a:80x",
                                      "https://a:-1",
                                      "https://a: 80",
                                      "https://.a",
                                      "https://-a",
                                      "https://a b",
                                      "https://a\tb",
                                      "https://a\n",
                                      "https://a\r\nX: y",
                                      " https://a",
                                      "https://a ",
                                      "https://\x7f",
                                      "https://h\xc3\xa9",
                                      "ftp://a",
                                      "file:///etc",
                                      "//a",
                                      "a",
                                      "https:a",
                                      "https:/a",
                                      "https://a\\b",
                                      "https://[::1",
                                      "https://[::1]x",
                                      "https://[::1]:",
                                      "https://[::g]",
                                      "https://[]",
                                      "https://a[b]",
                                      "https://a%00b",
                                      "https://a,b",
                                      "https://[1:2:3:4:5:6:7:8:9:a:b:c:d:e:f:1:2:3:4:5:6:7:8]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(bad[i], "the option hub_endpoint is '");
    refused("https://me:pass:word@hub.example", "without a user");
    refused("https://hub.example/?x=pass:word", "without a query");
    refused("https://hub.example/#pass:word", "without a query");
    char *longest = malloc(3000);
    memset(longest, 'a', 3000);
    memcpy(longest, "https://", 8);
    longest[2999] = '\0';
    refused(longest, "2999 bytes");
    longest[1024] = '\0';
    endpoint(longest, longest);
    free(longest);
}

static void clear_text(void) {
    clear();
    static const char *const far[] = {
        "http://hub.example", "http://127.0.0.1.example", "http://localhost.example", "http://127.1",
        "http://128.0.0.1",   "http://0.0.0.0",           "http://[2001:db8::1]:80",  "http://[::]",
        "http://localhosts"};
    for (size_t i = 0; i < sizeof far / sizeof *far; i++)
        refused(far[i], "HFSANDBOX_ALLOW_HTTP=1");
    set("HFSANDBOX_ALLOW_HTTP", "1");
    for (size_t i = 0; i < sizeof far / sizeof *far; i++)
        endpoint(far[i], far[i]);
}

static void switches(void) {
    clear();
    CHECK(!settings_offline() && settings_telemetry());
    static const char *const off[] = {"HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY", "DO_NOT_TRACK",
                                      "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"};
    for (size_t i = 0; i < sizeof off / sizeof *off; i++) {
        set(off[i], "0");
        CHECK(settings_telemetry());
        set(off[i], "True");
        CHECK(!settings_telemetry());
        CHECK_EQ(settings_offline(), strstr(off[i], "OFFLINE") != NULL);
        set(off[i], NULL);
    }
    set("HF_HUB_OFFLINE", "0");
    set("TRANSFORMERS_OFFLINE", "1");
    CHECK(!settings_offline());
    set("HF_HUB_OFFLINE", "");
    CHECK(settings_offline());
}

static void home(const char *expected) {
    char *got = settings_hf_home();
    CHECK_STR(got, expected);
    free(got);
}

static void homes(void) {
    clear();
    home("/home/me/.cache/huggingface");
    set("XDG_CACHE_HOME", "/cache");
    home("/cache/huggingface");
    set("XDG_CACHE_HOME", "~/c");
    home("/home/me/c/huggingface");
    set("SBX_UNIT", "value");
    set("HF_HOME", "~/$SBX_UNIT/${SBX_UNIT}x");
    home("/home/me/value/valuex");
    set("HF_HOME", "");
    set("XDG_CACHE_HOME", "");
    home("/home/me/.cache/huggingface");
    char expected[4200];
    const struct passwd *me = getpwuid(getuid());
    if (me != NULL) {
        snprintf(expected, sizeof expected, "%s/.cache/huggingface", me->pw_dir);
        set("HOME", NULL);
        home(expected);
        set("HOME", "");
        home(expected);
    }
}

static void expanded(const char *path, const char *expected) {
    char *got = settings_expand(path);
    CHECK_STR(got, expected);
    free(got);
}

static void expansion(void) {
    clear();
    set("SBX_UNIT", "v");
    set("SBX_EMPTY", "");
    set("SBX_NESTED", "$SBX_UNIT");
    expanded("", "");
    expanded("~", "/home/me");
    expanded("~/", "/home/me/");
    expanded("~other/x", "~other/x");
    expanded("a~/b", "a~/b");
    expanded("$SBX_UNIT-$SBX_UNIT.x", "v-v.x");
    expanded("$SBX_UNITx", "$SBX_UNITx");
    expanded("[$SBX_EMPTY${SBX_EMPTY}]", "[]");
    expanded("$SBX_NESTED", "$SBX_UNIT");
    expanded("$", "$");
    expanded("$$", "$$");
    expanded("${", "${");
    expanded("${}", "${}");
    expanded("${SBX_UNIT", "${SBX_UNIT");
    expanded("${SBX UNIT}", "${SBX UNIT}");
    char *many = malloc(6000);
    for (int i = 0; i < 5998; i += 2)
        memcpy(many + i, "$S", 2);
    many[5998] = '\0';
    CHECK(settings_expand(many) == NULL);
    set("S", "");
    expanded(many, "");
    set("S", "123456789");
    CHECK(settings_expand(many) == NULL);
    memset(many, 'N', 5998);
    many[0] = '$';
    CHECK(settings_expand(many) == NULL);
    free(many);
}

static bool local(const char *url) {
    struct endpoint endpoint;
    sbx_error err;
    CHECK_EQ(endpoint_make(&endpoint, ENDPOINT_URL, url, NULL, -1, NULL, 0, &err), SBX_OK);
    bool is = endpoint_is_local(&endpoint);
    endpoint_free(&endpoint);
    return is;
}

/* What gets no proxy. */
static void this_machine(void) {
    static const char *const near[] = {"http://127.0.0.1",     "http://127.0.0.1:80/p", "http://127.255.0.9/",
                                       "http://localhost:1/p", "https://LocalHost",     "http://[::1]",
                                       "http://[::1]:80/p"};
    static const char *const far[] = {
        "http://127.example.com",   "http://127.0.0.1.example", "http://127.0.0.1@hub.example",
        "http://localhost.example", "http://localhosts",        "http://128.0.0.1",
        "http://[2001:db8::1]:80",  "http://[::1.example",      "https://huggingface.co/127.0.0.1"};
    for (size_t i = 0; i < sizeof near / sizeof *near; i++)
        CHECK(local(near[i]));
    for (size_t i = 0; i < sizeof far / sizeof *far; i++)
        CHECK(!local(far[i]));
}

CHECK_MAIN(truth, endpoint_order, endpoint_forms, clear_text, this_machine, switches, homes, expansion)
