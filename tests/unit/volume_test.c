// links: client
#include "check.h"

#include "client/json.h"
#include "client/volume.h"

static void made(const char *text, const char *expected) {
    struct buf out = BUF_INIT(16384);
    sbx_error err = {0};
    buf_puts(&out, "[");
    CHECK(volume_json(&out, text, &err));
    if (err.code != SBX_OK) printf("%s\n", err.message);
    CHECK_STR(out.data + 1, expected);
    struct json *value = json_parse(out.data + 1, out.len - 1);
    CHECK(json_is_object(value));
    json_free(value);
    buf_free(&out);
}

static void refused(const char *text, const char *because) {
    struct buf out = BUF_INIT(16384);
    sbx_error err = {0};
    buf_puts(&out, "[");
    CHECK(!volume_json(&out, text, &err));
    CHECK(!volume_json(&out, text, NULL));
    CHECK_STR(out.data, "[");
    CHECK(!out.failed);
    CHECK_EQ(err.code, SBX_ERROR_INVALID);
    if (strstr(err.message, because) == NULL) printf("%s: %s\n", text, err.message);
    CHECK(strstr(err.message, because) != NULL);
    buf_free(&out);
}

#define REPO(type, more) "{\"type\":\"" type "\",\"source\":\"org/name\",\"mountPath\":\"/data\"" more "}"

static void repositories(void) {
    made("hf://org/name:/data", REPO("model", ",\"readOnly\":true"));
    made("hf://models/org/name:/data", REPO("model", ",\"readOnly\":true"));
    made("hf://datasets/org/name:/data:ro", REPO("dataset", ",\"readOnly\":true"));
    made("hf://spaces/org/name:/data", REPO("space", ",\"readOnly\":true"));
    made("hf://org/name@v1.0/a/b c:/data",
         REPO("model", ",\"revision\":\"v1.0\",\"readOnly\":true,\"path\":\"a/b c\""));
    made("hf://org/name@main:/data", REPO("model", ",\"revision\":\"main\",\"readOnly\":true"));
    made("hf://org/name/file@1.txt:/data", REPO("model", ",\"readOnly\":true,\"path\":\"file@1.txt\""));
    made("hf://org/name@refs/pr/12:/data", REPO("model", ",\"revision\":\"refs/pr/12\",\"readOnly\":true"));
    made("hf://org/name@refs/pr/12/a/b:/data",
         REPO("model", ",\"revision\":\"refs/pr/12\",\"readOnly\":true,\"path\":\"a/b\""));
    made("hf://org/name@refs/convert/parquet-v2/a:/data",
         REPO("model", ",\"revision\":\"refs/convert/parquet-v2\",\"readOnly\":true,\"path\":\"a\""));
    made("hf://org/name@refs/heads:/data",
         REPO("model", ",\"revision\":\"refs\",\"readOnly\":true,\"path\":\"heads\""));
    made("hf://org/name@a%2fb+c:/data", REPO("model", ",\"revision\":\"a/b+c\",\"readOnly\":true"));
    made("hf://org/name@50%:/data", REPO("model", ",\"revision\":\"50%\",\"readOnly\":true"));
    made("hf://models/buckets/name:/data",
         "{\"type\":\"model\",\"source\":\"buckets/name\",\"mountPath\":\"/data\",\"readOnly\":true}");
    made("hf://o-r_g.x/N9/a\"b\\c:/d/\xc3\xa9",
         "{\"type\":\"model\",\"source\":\"o-r_g.x/N9\",\"mountPath\":\"/d/"
         "\xc3\xa9\",\"readOnly\":true,\"path\":\"a\\\"b\\\\c\"}");
}

static void buckets(void) {
    made("hf://buckets/org/name:/data", REPO("bucket", ""));
    made("hf://buckets/org/name:/data:ro", REPO("bucket", ",\"readOnly\":true"));
    made("hf://buckets/org/name/sub/dir:/data:rw",
         REPO("bucket", ",\"readOnly\":false,\"path\":\"sub/dir\""));
    made("hf://buckets/org/name/a:/b:/data", REPO("bucket", ",\"path\":\"a:/b\""));
    refused("hf://buckets/org/name@main:/data", "buckets have no revisions");
}

static void hostile(void) {
    static const char *const bad[][2] = {
        {"", "begin with hf://"},
        {"org/name:/data", "begin with hf://"},
        {"https://huggingface.co/org/name:/data", "begin with hf://"},
        {"HF://org/name:/data", "begin with hf://"},
        {"hf://", "mounted is missing"},
        {"hf://:ro", "mounted is missing"},
        {"hf://org/name", "mounted is missing"},
        {"hf://org/name:ro", "mounted is missing"},
        {"hf://org/name:data", "mounted is missing"},
        {"hf://org/name:", "mounted is missing"},
        {"hf://org/name:/", "mounted at '/'"},
        {"hf://org/name:/:ro", "mounted at '/'"},
        {"hf://org/name:/data/", "mount's path"},
        {"hf://buckets/org/name:/data:rx", "has a ':'"},
        {"hf://org/name:/data:ro:ro", "has a ':'"},
        {"hf://org/name:/d:e/f", "has a ':'"},
        {"hf://org/name:/:", "has a ':'"},
        {"hf://org/name://data", "mount's path"},
        {"hf://org/name:/a/../b", "mount's path"},
        {"hf://org/name:/..", "mount's path"},
        {"hf://org/name:/./a", "mount's path"},
        {"hf://:/data", "OWNER/NAME"},
        {"hf://name:/data", "OWNER/NAME"},
        {"hf://models/name:/data", "OWNER/NAME"},
        {"hf://models:/data", "OWNER/NAME"},
        {"hf://buckets/:/data", "OWNER/NAME"},
        {"hf:///name:/data", "OWNER/NAME"},
        {"hf://org/:/data", "OWNER/NAME"},
        {"hf://org//name:/data", "OWNER/NAME"},
        {"hf://../name:/data", "OWNER/NAME"},
        {"hf://org/..:/data", "OWNER/NAME"},
        {"hf://org/.:/data", "OWNER/NAME"},
        {"hf://-o/name:/data", "OWNER/NAME"},
        {"hf://or g/name:/data", "OWNER/NAME"},
        {"hf://org/n%2fe:/data", "OWNER/NAME"},
        {"hf://org@v1/name:/data", "OWNER/NAME"},
        {"hf://org/na\xc3\xa9:/data", "OWNER/NAME"},
        {"hf://org/name:/a:/data", "OWNER/NAME"},
        {"hf://org/name@:/data", "revision"},
        {"hf://org/name@/a:/data", "revision"},
        {"hf://org/name@..:/data", "revision"},
        {"hf://org/name@a..b:/data", "revision"},
        {"hf://org/name@%2e%2e%2fx:/data", "revision"},
        {"hf://org/name@a%00b:/data", "revision"},
        {"hf://org/name@a%0ab:/data", "revision"},
        {"hf://org/name@a%2f%2fb:/data", "revision"},
        {"hf://org/name@refs/pr/1x:/data", "other than a path"},
        {"hf://org/name/:/data", "path inside"},
        {"hf://org/name@v1/:/data", "path inside"},
        {"hf://org/name/a//b:/data", "path inside"},
        {"hf://org/name/../x:/data", "path inside"},
        {"hf://org/name/a/.:/data", "path inside"},
        {"hf://org/name:/data:rw", "only buckets"},
        {"hf://datasets/org/name:/data:rw", "only buckets"},
        {"hf://dataset/org/name:/data", "plural, datasets/"},
        {"hf://bucket/org/name:/data", "plural, buckets/"},
        {"hf://model:/data", "plural, models/"},
        {"hf://kernels/org/name:/data", "kernels"},
        {"hf://org/name:/da\nta", "control character"},
        {"hf://org/name:/da\x7fta", "control character"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(bad[i][0], bad[i][1]);
}

static void sizes(void) {
    char text[5000];
    memset(text, 'a', sizeof text);
    memcpy(text, "hf://buckets/o/", 15);
    text[15 + 96] = ':', text[15 + 97] = '/';
    text[4096] = '\0';
    struct buf out = BUF_INIT(16384);
    sbx_error err = {0};
    CHECK(volume_json(&out, text, &err));
    buf_free(&out);
    struct buf small = BUF_INIT(100);
    CHECK(!volume_json(&small, text, &err));
    CHECK_EQ(err.code, SBX_ERROR_TOO_LARGE);
    CHECK_EQ(small.len, 0);
    buf_free(&small);
    text[4096] = 'a', text[4097] = '\0';
    refused(text, "4097 bytes");
    text[15 + 96] = 'a', text[15 + 97] = ':', text[15 + 98] = '/', text[200] = '\0';
    refused(text, "OWNER/NAME");
    memset(text + 120, '"', 3900);
    text[15 + 96] = ':', text[15 + 97] = '/', text[15 + 98] = 'a', text[4000] = '\0';
    CHECK(volume_json(&out, text, &err));
    buf_free(&out);
}

CHECK_MAIN(repositories, buckets, hostile, sizes)
