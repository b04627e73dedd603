#include "agent/etag.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "agent/lock.h"
#include "util/testing.h"
#include "util/text.h"

#define NANO   1000000000
#define PLACES 64

static uint64_t nanoseconds(struct timespec t) {
    return (uint64_t)t.tv_sec * NANO + (uint64_t)t.tv_nsec;
}

void etag_format(const struct stat *st, char out[ETAG_SIZE]) {
    text_format(out, ETAG_SIZE, "\"%llx-%llx-%llx-%llx-%llx\"", (unsigned long long)st->st_dev,
                (unsigned long long)st->st_ino, (unsigned long long)st->st_size,
                (unsigned long long)nanoseconds(st->st_mtim), (unsigned long long)nanoseconds(st->st_ctim));
}

bool etag_exists(int fd) {
    /* procfs, sysfs, cgroup, cgroup2, debugfs, tracefs, securityfs, bpf */
    static const unsigned long generated[] = {0x9fa0,     0x62656572, 0x27e0eb,   0x63677270,
                                              0x64626720, 0x74726163, 0x73636673, 0xcafe4a11};
    struct statfs fs;
    if (fstatfs(fd, &fs) != 0) return true;
    for (size_t i = 0; i < sizeof generated / sizeof *generated; i++)
        if (((unsigned long)fs.f_type & 0xffffffff) == generated[i]) return false;
    return true;
}

/* Looks for tag in a list of tags as the fields If-Match and If-None-Match have it. A weak tag in the list
   ("W/...") counts only when weak comparison is asked for. */
static bool listed(const char *field, const char *tag, bool weak) {
    size_t len = strlen(tag);
    for (const char *p = field; *p != '\0';) {
        p += strspn(p, " \t,");
        bool is_weak = strncmp(p, "W/", 2) == 0;
        if (is_weak) p += 2;
        if (*p != '"') { /* a tag without quotes is compared as it stands, up to the comma */
            size_t bare = strcspn(p, ", \t");
            if (bare == 0) break;
            if (len == bare + 2 && strncmp(p, tag + 1, bare) == 0 && (weak || !is_weak)) return true;
            p += bare;
            continue;
        }
        const char *end = strchr(p + 1, '"');
        if (end == NULL) break;
        if ((size_t)(end - p) + 1 == len && strncmp(p, tag, len) == 0 && (weak || !is_weak)) return true;
        p = end + 1;
    }
    return false;
}

static bool is_any(const char *field) {
    field += strspn(field, " \t");
    return field[0] == '*' && field[1 + strspn(field + 1, " \t")] == '\0';
}

bool etag_if_match(const char *field, const char *tag) {
    if (field == NULL) return true;
    if (tag == NULL) return false;
    return is_any(field) || (tag[0] != '\0' && listed(field, tag, false));
}

bool etag_if_none_match(const char *field, const char *tag) {
    if (field == NULL || tag == NULL) return true;
    return !is_any(field) && (tag[0] == '\0' || !listed(field, tag, true));
}

void etag_stamp(int fd) {
    static _Atomic uint64_t last;
    if (testing_off("etag-stamp")) return;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t before = atomic_load(&last), stamp;
    do
        stamp = nanoseconds(now) > before ? nanoseconds(now) : before + 1;
    while (!atomic_compare_exchange_weak(&last, &before, stamp));
    struct timespec times[2] = {
        {.tv_sec = 0, .tv_nsec = UTIME_OMIT},
        {.tv_sec = (time_t)(stamp / NANO), .tv_nsec = (long)(stamp % NANO)},
    };
    /* Fails on a file of another owner that is written in place; its time is then the kernel's. */
    (void)!syscall(SYS_utimensat, fd, NULL, times, 0);
}

static struct lock places[PLACES];

unsigned etag_place(const struct stat *directory, const char *name) {
    uint64_t hash = (uint64_t)directory->st_dev * 1000003 + (uint64_t)directory->st_ino;
    for (const char *c = name; *c != '\0'; c++)
        hash = (hash ^ (unsigned char)*c) * 1099511628211u;
    return (unsigned)((hash >> 32 ^ hash) % PLACES);
}

void etag_lock(unsigned place) {
    if (!testing_off("etag-lock")) lock_take(&places[place]);
}

void etag_unlock(unsigned place) {
    if (!testing_off("etag-lock")) lock_drop(&places[place]);
}

void etag_lock_two(unsigned a, unsigned b) {
    etag_lock(a < b ? a : b);
    if (a != b) etag_lock(a < b ? b : a);
}

void etag_unlock_two(unsigned a, unsigned b) {
    etag_unlock(a);
    if (a != b) etag_unlock(b);
}
