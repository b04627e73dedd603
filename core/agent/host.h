/* Host mode, as the rest of the agent sees it: through a table, agent_host(), which only main.c names, so
   that the linker leaves it out of the program for jobs that carry one sandbox. it is NULL in dedicated mode.
 */
#ifndef AGENT_HOST_H
#define AGENT_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct exchange;
struct file_path;
struct job;
struct proxy;
struct route;
struct tenant;

struct host {
    /* See route_host.h. */
    const struct route *(*route)(struct exchange *x, const char *path, const char *end, bool *authenticated);
    size_t (*count)(void);
    int64_t (*last_end)(void);
    void (*begin)(void);  /* the loop is there */
    bool (*open)(int fd); /* peer.h */
    void (*end_all)(void (*done)(void));
    bool (*path_init)(struct file_path *p, const char *bytes, size_t len); /* these three: file_beneath.h */
    int (*resolve)(const struct tenant *t, int at, const char *path, int flags);
    int (*path_target)(const struct file_path *p, bool make, char *name);
    bool (*connect)(struct proxy *p); /* proxy_host.h */
    bool (*become)(const struct tenant *t);
    void (*come_back)(const struct tenant *t);
    void (*running)(pid_t pid);                      /* a command runs its program now */
    void (*submit)(struct tenant *t, struct job *j); /* these two: tenant_jobs.h */
    void (*completed)(struct tenant *t);
    bool (*owns)(uint64_t command, pid_t pid); /* tenant.h */
};

extern const struct host host_mode;

#endif
