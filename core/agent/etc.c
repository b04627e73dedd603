#include "agent/etc.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/root.h"
#include "util/buf.h"
#include "util/scope.h"
#include "wire/limits.h"

#define USER "sandbox"

static bool put(const char *path, const char *text, size_t len, struct confine_error *e) {
    cleanup_fd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd >= 0 && write(fd, text, len) == (ssize_t)len) return true;
    return confine_fail(e, "root", errno, "", "writing %s: %s", path, strerror(errno));
}

static bool put_text(const char *path, const char *text, struct confine_error *e) {
    return put(path, text, strlen(text), e);
}

/* The name service of the network that is shared: its addresses, not the host's file, which may be a link to
 * anywhere. */
static bool put_resolver(struct confine_error *e) {
    char text[4096];
    cleanup_fd int fd = open("/etc/resolv.conf", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text);
    return put("etc/resolv.conf", text, n > 0 ? (size_t)n : 0, e);
}

/* A time zone is a link to a file of /usr; anything else stays out. */
static bool put_zone(struct confine_error *e) {
    char to[256];
    ssize_t n = readlink("/etc/localtime", to, sizeof to - 1);
    if (n <= 0) return true;
    to[n] = '\0';
    if (strncmp(to, "/usr/share/zoneinfo/", 20) != 0 && strncmp(to, "../usr/share/zoneinfo/", 22) != 0)
        return true;
    if (symlink(to, "etc/localtime") == 0) return true;
    return confine_fail(e, "root", errno, "", "linking /etc/localtime: %s", strerror(errno));
}

bool etc_write(const struct confine_config *c, struct confine_error *e) {
    const char *name = c->hostname != NULL && c->hostname[0] != '\0' ? c->hostname : USER;
    struct buf text = BUF_INIT(KIB(4));
    buf_printf(&text, "127.0.0.1 localhost %s\n::1 localhost ip6-localhost\n", name);
    bool ok = !text.failed && put("etc/hosts", text.data, text.len, e);
    buf_clear(&text);
    ok = ok && buf_printf(&text, "%s\n", name) && put("etc/hostname", text.data, text.len, e);
    buf_free(&text);
    return ok &&
           put_text("etc/passwd",
                    "root:x:0:0:root:/root:/usr/sbin/nologin\n" USER ":x:1000:1000::" ROOT_HOME ":/bin/sh\n"
                    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
                    e) &&
           put_text("etc/group", "root:x:0:\n" USER ":x:1000:\nnogroup:x:65534:\n", e) &&
           put_text("etc/nsswitch.conf",
                    "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
                    e) &&
           put_text("etc/shells", "/bin/sh\n", e) && put_zone(e) && (!c->host_network || put_resolver(e)) &&
           (c->host_network || put_text("etc/resolv.conf", "", e));
}
