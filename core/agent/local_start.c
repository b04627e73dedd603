#include "agent/local_start.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/sandbox.h"
#include "agent/confine.h"
#include "agent/json_in.h"
#include "agent/keeper.h"
#include "agent/localdir.h"
#include "agent/limits.h"
#include "agent/serve.h"
#include "agent/syscalls.h"
#include "agent/watch.h"
#include "util/buf.h"
#include "util/whole.h"
#include "util/text.h"
#include "wire/limits.h"
#include "wire/names.h"

#define CONFIG_MAX LIMIT_JSON_BODY
#define USUAL_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static void write_status(struct buf *line) {
    buf_putc(line, '\n');
    whole_write(LOCAL_FD_STATUS, line->data, line->len);
    buf_free(line);
    close(LOCAL_FD_STATUS);
}

static _Noreturn void give_up(const struct confine_error *e) {
    struct buf line = BUF_INIT(KIB(4));
    confine_error_json(e, &line);
    write_status(&line);
    localdir_remove();
    exit(1);
}

static _Noreturn void bad_config(const char *what) {
    struct confine_error e = {.step = ""};
    confine_fail(&e, "config", EINVAL, "start local sandboxes through libhfsandbox or the command hfsandbox",
                 "the configuration on descriptor %d: %s", LOCAL_FD_CONFIG, what);
    give_up(&e);
}

static void read_config(struct buf *text) {
    for (;;) {
        char *room = buf_reserve(text, KIB(16));
        if (room == NULL) bad_config("too large");
        ssize_t n = read(LOCAL_FD_CONFIG, room, KIB(16));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) bad_config(strerror(errno));
        if (n == 0) break;
        text->len += (size_t)n;
    }
    close(LOCAL_FD_CONFIG);
}

/* A member that may be absent or null; NULL then. */
static char *text_of(const struct json_doc *d, json_at object, const char *name) {
    json_at at = json_in_get(d, object, name);
    enum json_type type = json_in_type(d, at);
    if (type == JSON_ABSENT || type == JSON_NULL) return NULL;
    char *text = json_in_strdup(d, at);
    if (text == NULL) bad_config(name);
    return text;
}

static uint64_t number_of(const struct json_doc *d, json_at object, const char *name, uint64_t otherwise) {
    json_at at = json_in_get(d, object, name);
    enum json_type type = json_in_type(d, at);
    uint64_t value = otherwise;
    if (type != JSON_ABSENT && type != JSON_NULL && !json_in_u64(d, at, &value)) bad_config(name);
    return value;
}

static bool flag_of(const struct json_doc *d, json_at object, const char *name) {
    json_at at = json_in_get(d, object, name);
    enum json_type type = json_in_type(d, at);
    bool value = false;
    if (type != JSON_ABSENT && type != JSON_NULL && !json_in_bool(d, at, &value)) bad_config(name);
    return value;
}

/* The index of the member's text among the words. */
static int choice_of(const struct json_doc *d, const char *name, const char *const words[]) {
    char *text = text_of(d, 0, name);
    if (text == NULL) bad_config(name);
    for (int i = 0; words[i] != NULL; i++) {
        if (strcmp(text, words[i]) != 0) continue;
        free(text);
        return i;
    }
    bad_config(name);
}

static void read_binds(const struct json_doc *d, struct confine_config *c) {
    json_at binds = json_in_get(d, 0, "binds");
    size_t count = json_in_size(d, binds);
    if (count == 0) return;
    c->binds = calloc(count, sizeof *c->binds);
    if (c->binds == NULL) bad_config("out of memory");
    for (json_at at = json_in_first(d, binds); at >= 0; at = json_in_next(d, at)) {
        struct confine_bind *b = &c->binds[c->bind_count++];
        b->source = text_of(d, at, "source");
        b->target = text_of(d, at, "target");
        b->writable = flag_of(d, at, "writable");
        if (b->source == NULL || b->target == NULL) bad_config("binds");
    }
}

/* The environment that commands start from: what the sandbox gives, then what was asked for, which wins. */
static void make_env(const struct json_doc *d) {
    json_at env = d == NULL ? -1 : json_in_get(d, 0, "env");
    size_t asked = json_in_size(d, env), n = 0;
    sandbox_machine.env = calloc(asked + 1, sizeof *sandbox_machine.env);
    if (sandbox_machine.env == NULL) bad_config("out of memory");
    for (json_at at = json_in_first(d, env); at >= 0; at = json_in_next(d, at)) {
        struct buf item = BUF_INIT(LIMIT_JSON_BODY);
        json_in_string(d, at, &item, false);
        if (item.len == 0 || memchr(item.data, '=', item.len) != NULL) bad_config("env");
        buf_putc(&item, '=');
        if (!json_in_scalar(d, json_in_value(d, at), &item)) bad_config("env");
        sandbox_machine.env[n++] = buf_take(&item);
    }
}

static bool env_has(const char *item) {
    size_t len = strcspn(item, "=") + 1;
    for (char **e = sandbox_machine.env; *e != NULL; e++)
        if (strncmp(*e, item, len) == 0) return true;
    return false;
}

static void env_default(const char *name, const char *value) {
    struct buf item = BUF_INIT(LIMIT_PATH + 64);
    if (value == NULL) return;
    buf_printf(&item, "%s%s", name, value);
    size_t n = 0;
    while (sandbox_machine.env[n] != NULL)
        n++;
    char **grown = env_has(item.data) ? NULL : realloc(sandbox_machine.env, (n + 2) * sizeof *grown);
    if (grown == NULL) {
        buf_free(&item);
        return;
    }
    sandbox_machine.env = grown;
    sandbox_machine.env[n] = buf_take(&item);
    sandbox_machine.env[n + 1] = NULL;
}

static void read_members(const struct json_doc *d, struct confine_config *c) {
    static const char *const levels[] = {"none", "landlock", "full", NULL}, *const networks[] = {
                                                                                "none", "host", NULL};
    static const enum confine_level level_of[] = {CONFINE_NONE, CONFINE_LANDLOCK, CONFINE_FULL};
    c->level = level_of[choice_of(d, "level", levels)];
    c->host_network = choice_of(d, "network", networks) == 1;
    c->hostname = text_of(d, 0, "hostname");
    c->dir = text_of(d, 0, "dir");
    read_binds(d, c);
    json_at limits = json_in_get(d, 0, "limits");
    c->limits.processes = number_of(d, limits, "processes", 0);
    c->limits.memory = number_of(d, limits, "memory", 0);
    c->limits.disk = number_of(d, limits, "disk", 0);
    c->limits.open_files = number_of(d, limits, "open_files", 0);
    sandbox_machine.id = text_of(d, 0, "id");
    agent.token = text_of(d, 0, "token");
    sandbox_machine.cwd = text_of(d, 0, "cwd");
    agent.detached = flag_of(d, 0, "detached");
    uint64_t idle = number_of(d, 0, "idle_ms", UINT64_MAX);
    agent.idle_ms = idle > INT64_MAX ? -1 : (int64_t)idle;
    make_env(d);
    if (agent.token == NULL || agent.token[0] == '\0') bad_config("token");
    if (agent.detached && c->dir == NULL) bad_config("dir");
    if (sandbox_machine.id == NULL) sandbox_machine.id = "";
}

static void read_all(struct confine_config *c) {
    struct buf text = BUF_INIT(CONFIG_MAX);
    const char *why;
    read_config(&text);
    struct json_doc *d = json_in_parse(text.data == NULL ? "" : text.data, text.len, &why);
    if (d == NULL) bad_config(why);
    read_members(d, c);
    json_in_free(d);
    if (text.len > 0) memset(text.data, 0, text.len);
    buf_free(&text);
}

/* The listening socket takes the place where an attached agent finds its control socket. */
static void make_directory(const struct confine_config *c) {
    struct confine_error e = {.step = ""};
    if (c->dir == NULL) return;
    if (!localdir_make(c->dir, &e)) give_up(&e);
    if (!agent.detached) return;
    int fd = localdir_listen(&e);
    if (fd < 0) give_up(&e);
    if (fd == LOCAL_FD_ENDPOINT) return;
    if (sys_dup(fd, LOCAL_FD_ENDPOINT, O_CLOEXEC) < 0) bad_config("no descriptor for the socket");
    close(fd);
}

void local_start_confined(void) {
    struct confine_config c = {.level = CONFINE_FULL};
    struct confine_error e = {.step = ""};
    agent.local = true;
    keeper_begin();
    read_all(&c);
    make_directory(&c);
    keeper_split(&c, agent.detached);
    if (!confine_apply(&c, &e)) give_up(&e);
    if (sandbox_machine.cwd == NULL) sandbox_machine.cwd = confine_home() != NULL ? confine_home() : "/";
    env_default("", USUAL_PATH);
    env_default("HOME=", confine_home());
    env_default("TMPDIR=", confine_tmp());
    env_default("", "LANG=C.UTF-8");
    free(c.binds);
}

void local_start_serve(void) {
    struct confine_error e = {.step = ""};
    if (!(agent.detached ? serve_listener(LOCAL_FD_ENDPOINT) : serve_control(LOCAL_FD_ENDPOINT))) {
        confine_fail(&e, "serve", errno, "", "serving the endpoint: %s", strerror(errno));
        give_up(&e);
    }
    if (!keeper_follow()) exit(1); /* nobody is left who could be told */
    watch_start(limits_get()->memory);
    struct buf line = BUF_INIT(MIB(1));
    buf_printf(&line, "{\"ready\":true,\"pid\":%d,\"isolation\":", (int)keeper_pid());
    confine_report(&line);
    buf_putc(&line, '}');
    write_status(&line);
}
