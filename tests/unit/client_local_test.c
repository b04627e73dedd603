// links: client
#include "check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/json.h"
#include "client/local_config.h"
#include "client/local_spawn.h"
#include "client/record.h"
#include "util/rmtree.h"

static char root[] = "/tmp/client-local-XXXXXX";

static void make_root(void) {
    CHECK(mkdtemp(root) != NULL);
}

static void ids(void) {
    char id[RECORD_ID_SIZE];
    CHECK(record_new_id(id));
    CHECK(record_id_ok(id));
    const char *const bad[] = {"",
                               "local-",
                               "local-0123456789a",
                               "local-0123456789abc",
                               "local-0123456789aB",
                               "../local-0123456789",
                               "local-01234/6789ab"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!record_id_ok(bad[i]));
}

static int make_dir(int runtime, const char *id) {
    CHECK_EQ(mkdirat(runtime, id, 0700), 0);
    sbx_error err;
    int dir = record_open(runtime, id, &err);
    CHECK(dir >= 0);
    return dir;
}

static void records(void) {
    char *path = NULL;
    sbx_error err;
    int runtime = record_runtime(&path, root, &err);
    CHECK(runtime >= 0);
    struct record r = {.id = "local-0123456789ab",
                       .token = "secret",
                       .version = "0.1.0",
                       .pid = getpid(),
                       .created_at_ms = 12345};
    r.start_time = record_start_time(getpid());
    CHECK(r.start_time != 0);
    int dir = make_dir(runtime, r.id);
    struct record got;
    CHECK_EQ(record_read(dir, r.id, &got, &err), SBX_ERROR_NOT_FOUND);
    CHECK_EQ(record_write(dir, &r, &err), SBX_OK);
    CHECK_EQ(record_read(dir, r.id, &got, &err), SBX_OK);
    CHECK_STR(got.token, "secret");
    CHECK_EQ(got.pid, r.pid);
    CHECK_EQ(got.start_time, r.start_time);
    CHECK_EQ(got.created_at_ms, 12345);
    int keeper = record_keeper(dir, &got);
    CHECK(keeper >= 0);
    close(keeper);
    got.start_time++;
    CHECK_EQ(record_keeper(dir, &got), -1);

    /* It lives as long as somebody holds the shared lock, and is cleaned only afterwards. */
    int lock = openat(runtime, r.id, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK_EQ(flock(lock, LOCK_SH), 0);
    CHECK(record_alive(dir));
    CHECK(!record_clean(runtime, r.id));
    close(lock);
    CHECK(!record_alive(dir));
    CHECK(record_clean(runtime, r.id));
    CHECK(record_clean(runtime, r.id));
    CHECK_EQ(faccessat(runtime, r.id, F_OK, 0), -1);
    close(dir);
    close(runtime);
    free(path);
}

static void damaged(void) {
    char *path = NULL;
    sbx_error err;
    int runtime = record_runtime(&path, root, &err);
    const char *id = "local-0123456789ab";
    int dir = make_dir(runtime, id);
    struct record r;
    CHECK_EQ(symlinkat("/etc/passwd", dir, "record.json"), 0);
    CHECK_EQ(record_read(dir, id, &r, &err), SBX_ERROR_SYSTEM);
    CHECK_EQ(unlinkat(dir, "record.json", 0), 0);
    CHECK_EQ(mkfifoat(dir, "record.json", 0600), 0);
    CHECK_EQ(record_read(dir, id, &r, &err), SBX_ERROR_DENIED);
    CHECK(record_clean(runtime, id));
    CHECK_EQ(symlinkat("/etc", runtime, id), 0);
    CHECK_EQ(record_open(runtime, id, &err), -1);
    CHECK(!record_clean(runtime, id));
    CHECK_EQ(unlinkat(runtime, id, 0), 0);
    close(dir);
    close(runtime);
    free(path);
}

/* Deep, wide, without rights, with links out of it: a hostile home directory. */
static void trees(void) {
    int top = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int at = dup(top);
    for (int depth = 0; depth < 3000; depth++) {
        CHECK_EQ(mkdirat(at, "d", 0700), 0);
        int next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (depth % 500 == 0) {
            CHECK_EQ(symlinkat("/etc", at, "link"), 0);
            close(openat(at, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0));
            CHECK_EQ(fchmod(at, 0), 0);
        }
        close(at);
        at = next;
    }
    close(at);
    CHECK(rmtree_contents(top));
    DIR *dir = fdopendir(top);
    int entries = 0;
    while (readdir(dir) != NULL)
        entries++;
    CHECK_EQ(entries, 2);
    closedir(dir);
    CHECK_EQ(access("/etc/passwd", R_OK), 0);
}

static void configuration(void) {
    const sbx_bind binds[] = {{.source = "/usr/lib", .target = NULL},
                              {.source = "/usr/bin", .target = "/tools", .writable = 1}};
    const char *const env[] = {"A=1", "B=x=\"y\"\n", "A=2", NULL};
    sbx_sandbox_options o = {SBX_SANDBOX_OPTIONS_INIT, .binds = binds, .bind_count = 2,          .env = env,
                             .cwd = "/work",           .detached = 1,  .limit_memory = 100 << 20};
    sbx_error err;
    CHECK_EQ(local_config_check(&o, &err), SBX_OK);
    struct buf text = BUF_INIT(65536);
    const struct local_config c = {.id = "local-0123456789ab", .token = "t", .dir = "/d", .options = &o};
    CHECK_EQ(local_config_write(&text, &c, &err), SBX_OK);
    struct json *root_value = json_parse(text.data, text.len);
    CHECK(json_is_object(root_value));
    CHECK_STR(json_string(root_value, "level"), "full");
    CHECK_STR(json_string(root_value, "network"), "none");
    CHECK_STR(json_string(root_value, "cwd"), "/work");
    CHECK_EQ(json_int(root_value, "idle_ms", 0), 600000);
    CHECK_STR(json_string(json_get(root_value, "env"), "A"), "2");
    CHECK_STR(json_string(json_get(root_value, "env"), "B"), "x=\"y\"\n");
    CHECK_EQ(json_count(json_get(root_value, "binds")), 2);
    CHECK_STR(json_string(json_at(json_get(root_value, "binds"), 0), "target"), "/usr/lib");
    CHECK(json_bool(json_at(json_get(root_value, "binds"), 1), "writable", false));
    CHECK_EQ(json_uint(json_get(root_value, "limits"), "memory", 0), 100 << 20);
    CHECK_EQ(json_uint(json_get(root_value, "limits"), "processes", 0), 512);
    json_free(root_value);
    buf_free(&text);
    struct buf small = BUF_INIT(100);
    CHECK_EQ(local_config_write(&small, &c, &err), SBX_ERROR_TOO_LARGE);
    buf_free(&small);
}

static void remove_root(void) {
    CHECK_EQ(rmdir(root), 0);
}

CHECK_MAIN(make_root, ids, records, damaged, trees, configuration, remove_root)
