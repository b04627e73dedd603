#include "check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/dir.h"
#include "util/rmtree.h"
#include "util/whole.h"

#define MANY 500 /* names that do not fit into one read of a directory */

static char base[] = "/tmp/sbx-small-XXXXXX";

static void make(int at, const char *name, const char *text) {
    int fd = openat(at, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && whole_write(fd, text, strlen(text)));
    close(fd);
}

static void directories(void) {
    struct dir d;
    bool seen[MANY] = {false};
    CHECK(mkdtemp(base) != NULL);
    CHECK(dir_open_path(&d, base));
    CHECK(dir_next(&d) == NULL && !d.failed);
    for (int i = 0; i < MANY; i++) {
        char name[64];
        snprintf(name, sizeof name, "a-name-that-takes-some-space-%d", i);
        make(d.fd, name, "");
    }
    CHECK(mkdirat(d.fd, "sub", 0700) == 0);
    CHECK(lseek(d.fd, 0, SEEK_SET) == 0);
    int names = 0, directory = 0;
    for (const struct dir_entry *e; (e = dir_next(&d)) != NULL; names++) {
        int i = 0;
        if (e->type == DT_DIR) directory += strcmp(e->name, "sub") == 0;
        if (sscanf(e->name, "a-name-that-takes-some-space-%d", &i) != 1) continue;
        CHECK(i >= 0 && i < MANY && !seen[i]);
        seen[i] = true;
    }
    CHECK(!d.failed);
    CHECK_EQ(names, MANY + 1);
    CHECK_EQ(directory, 1);
    CHECK(rmtree_contents(d.fd));
    errno = EBUSY;
    dir_close(&d);
    dir_close(&d);
    CHECK_EQ(errno, EBUSY);
    CHECK(!dir_open_path(&d, "/nowhere/at/all") && errno == ENOENT);
    dir_close(&d);
    CHECK(dir_open(&d, open("/dev/null", O_RDONLY)));
    CHECK(dir_next(&d) == NULL && d.failed && errno == ENOTDIR);
    dir_close(&d);
}

static void files(void) {
    char text[8];
    int at = open(base, O_RDONLY | O_DIRECTORY);
    make(at, "file", "1234567890");
    CHECK(whole_read(at, "file", text, sizeof text));
    CHECK_STR(text, "1234567");
    make(at, "file", "12");
    CHECK(whole_read(at, "file", text, sizeof text));
    CHECK_STR(text, "12");
    make(at, "file", "");
    CHECK(!whole_read(at, "file", text, sizeof text));
    CHECK_STR(text, "");
    CHECK(!whole_read(at, "none", text, sizeof text) && errno == ENOENT);
    CHECK_STR(text, "");
    char path[64];
    snprintf(path, sizeof path, "%s/file", base);
    CHECK(whole_put(path, "new"));
    CHECK(whole_read(AT_FDCWD, path, text, sizeof text));
    CHECK_STR(text, "new");
    CHECK(unlink(path) == 0);
    CHECK(!whole_put(path, "new") && errno == ENOENT);
    CHECK(!whole_write(at, "x", 1));
    close(at);
    CHECK(rmdir(base) == 0);
}

CHECK_MAIN(directories, files)
