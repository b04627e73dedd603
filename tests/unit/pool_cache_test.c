// links: client
#include "check.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/json.h"
#include "client/pool_cache.h"
#include "util/clock.h"
#include "util/rmtree.h"

#define A "68f0c1d2e3a4b5c6d7e8f901"
#define B "68f0c1d2e3a4b5c6d7e8f902"
#define HOST                                                                                                 \
    "{\"job_id\":\"" A "\",\"owner\":\"alice\",\"base_url\":\"https://" A                                    \
    "--49983.hf.jobs\",\"nonce\":\"00ff\",\"capacity\":50,\"live\":3,\"updated_at\":1796144625.25}"
/* As the Hub's own client of the first generation writes it. */
#define FILE_TEXT                                                                                            \
    "{\"pool_id\":\"p\",\"image\":\"python:3.12\",\"flavor\":\"cpu-basic\",\"sandboxes_per_host\":50,"       \
    "\"max_hosts\":null,\"idle_timeout\":600,\"namespace\":null,\"hosts\":[" HOST                            \
    "],\"version\":1,\"updated_at\":1796144625.5}"

static bool parses(const char *text, struct pool_cache *out) {
    return pool_cache_parse(out, text, strlen(text), "p");
}

static void the_first_generation(void) {
    struct pool_cache c;
    CHECK(parses(FILE_TEXT, &c));
    CHECK_EQ(c.count, 1);
    CHECK_STR(c.hosts[0].id, A);
    CHECK_STR(c.hosts[0].nonce, "00ff");
    CHECK_EQ(c.hosts[0].capacity, 50);
    CHECK_EQ(c.hosts[0].live, 3);
    CHECK_EQ(c.hosts[0].updated_s, 1796144625);
    CHECK_EQ(c.max_hosts, 0);
    CHECK_EQ(c.idle_s, 600);
    CHECK_STR(c.hub_namespace, "");
    pool_cache_free(&c);
}

/* Ours has all its keys and no other, or that client takes it for broken. */
static void what_we_write(void) {
    static const char *const keys[] = {"pool_id",   "image",        "flavor",    "sandboxes_per_host",
                                       "max_hosts", "idle_timeout", "namespace", "hosts",
                                       "version",   "updated_at"};
    static const char *const of_host[] = {"job_id",   "owner", "base_url",  "nonce",
                                          "capacity", "live",  "updated_at"};
    struct pool_cache c, again;
    struct buf text = BUF_INIT(1 << 20);
    CHECK(parses(FILE_TEXT, &c));
    c.max_hosts = 4;
    c.idle_s = -1;
    CHECK(pool_cache_text(&text, &c, 7));
    struct json *root = json_parse(text.data, text.len);
    const struct json *host = json_at(json_get(root, "hosts"), 0);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        CHECK(json_get(root, keys[i]) != NULL);
    for (size_t i = 0; i < sizeof of_host / sizeof *of_host; i++)
        CHECK(json_get(host, of_host[i]) != NULL);
    CHECK_EQ(json_count(root), sizeof keys / sizeof *keys);
    CHECK_EQ(json_count(host), sizeof of_host / sizeof *of_host);
    json_free(root);
    CHECK(parses(text.data, &again));
    CHECK_EQ(again.max_hosts, 4);
    CHECK_EQ(again.idle_s, -1);
    CHECK_STR(again.hosts[0].url, c.hosts[0].url);
    pool_cache_free(&c);
    pool_cache_free(&again);
    buf_free(&text);
}

/* Replaces the first `from` by `to`. */
static void refuses(const char *from, const char *to) {
    char text[4096];
    struct pool_cache c;
    const char *at = strstr(FILE_TEXT, from);
    CHECK(at != NULL);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - FILE_TEXT), FILE_TEXT, to, at + strlen(from));
    if (parses(text, &c)) printf("taken: %s\n", text);
    CHECK(c.hosts == NULL);
}

static void never_trusted(void) {
    struct pool_cache c;
    CHECK(!parses("", &c));
    CHECK(!parses("[]", &c));
    CHECK(!parses("{\"version\":1}", &c));
    refuses("\"version\":1", "\"version\":2");
    refuses("\"pool_id\":\"p\"", "\"pool_id\":\"q\"");
    refuses("\"sandboxes_per_host\":50", "\"sandboxes_per_host\":0");
    refuses("\"sandboxes_per_host\":50", "\"sandboxes_per_host\":\"50\"");
    refuses("\"max_hosts\":null", "\"max_hosts\":-1");
    refuses("\"capacity\":50", "\"capacity\":1e18");
    refuses("\"live\":3", "\"live\":-3");
    refuses("\"job_id\":\"" A "\"", "\"job_id\":\"../x\"");
    refuses("\"owner\":\"alice\"", "\"owner\":\"a/b\"");
    refuses("\"nonce\":\"00ff\"", "\"nonce\":\"00f?\"");
    refuses("\"hosts\":[", "\"hosts\":[17,");
}

static void merging(void) {
    struct pool_cache into, from;
    const char *const dead[] = {B};
    CHECK(parses(FILE_TEXT, &into));
    CHECK(parses(FILE_TEXT, &from));
    from.hosts[0].live = 9;
    CHECK(pool_cache_merge(&into, &from, NULL, 0, from.hosts[0].updated_s));
    CHECK_EQ(into.count, 1);
    CHECK_EQ(into.hosts[0].live, 9);
    memcpy(from.hosts[0].id, B, sizeof B);
    CHECK(pool_cache_merge(&into, &from, NULL, 0, from.hosts[0].updated_s));
    CHECK_EQ(into.count, 2);
    from.count = 0;
    CHECK(pool_cache_merge(&into, &from, dead, 1, from.hosts[0].updated_s));
    CHECK_EQ(into.count, 1);
    CHECK_STR(into.hosts[0].id, A);
    CHECK(pool_cache_merge(&into, &from, NULL, 0, from.hosts[0].updated_s + 2 * 86400));
    CHECK_EQ(into.count, 0);
    pool_cache_free(&into);
    pool_cache_free(&from);
}

static char home[] = "/tmp/pool-cache-XXXXXX";

static void files(void) {
    struct pool_cache c, read;
    struct stat st;
    bool busy;
    CHECK(mkdtemp(home) != NULL);
    CHECK_EQ(setenv("HF_HOME", home, 1), 0);
    char *path = pool_cache_path("https://huggingface.co", "hf_a", "", "p");
    char *other[] = {pool_cache_path("https://huggingface.co", "hf_b", "", "p"),
                     pool_cache_path("https://hub.example", "hf_a", "", "p"),
                     pool_cache_path("https://huggingface.co", "hf_a", "acme", "p")};
    CHECK(path != NULL && strstr(path, "hf_a") == NULL);
    for (size_t i = 0; i < 3; i++) {
        CHECK(other[i] != NULL && strcmp(other[i], path) != 0);
        free(other[i]);
    }
    CHECK(pool_cache_path("https://huggingface.co", "hf_a", "", "..") == NULL);
    CHECK(parses(FILE_TEXT, &c));
    c.hosts[0].updated_s = clock_wall_ms() / 1000;
    CHECK(!pool_cache_read(&read, path, "p"));
    CHECK_EQ(pool_cache_write(path, &c, NULL, 0), POOL_CACHE_WRITTEN);
    CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600);
    CHECK(pool_cache_read(&read, path, "p") && read.count == 1);
    pool_cache_free(&read);
    CHECK(!pool_cache_read(&read, path, "q"));
    /* One at a time. */
    int lock = pool_cache_lock(path, &busy);
    CHECK(lock >= 0);
    CHECK(pool_cache_lock(path, &busy) < 0 && busy);
    pool_cache_unlock(lock);
    lock = pool_cache_lock(path, &busy);
    CHECK(lock >= 0);
    pool_cache_unlock(lock);
    char name[256];
    snprintf(name, sizeof name, "%s.boot", path);
    lock = pool_cache_lock(path, &busy);
    pool_cache_forget(path); /* somebody boots */
    CHECK(access(path, F_OK) == 0 && access(name, F_OK) == 0);
    pool_cache_unlock(lock);
    pool_cache_forget(path);
    CHECK(access(path, F_OK) != 0 && access(name, F_OK) != 0);
    CHECK_EQ(pool_cache_write(path, &c, NULL, 0), POOL_CACHE_WRITTEN);
    /* Another user could have written it. */
    CHECK_EQ(chmod(path, 0666), 0);
    CHECK(!pool_cache_read(&read, path, "p"));
    CHECK(unlink(path) == 0 && symlink("/etc/passwd", path) == 0);
    CHECK(!pool_cache_read(&read, path, "p"));
    free(path);
    pool_cache_free(&c);
    int fd = open(home, O_RDONLY | O_DIRECTORY);
    CHECK(rmtree_contents(fd));
    close(fd);
    rmdir(home);
}

CHECK_MAIN(the_first_generation, what_we_write, never_trusted, merging, files)
