// links: agent/http.c agent/http_query.c agent/route.c agent/handle_machine.c agent/handle_info.c
// links: agent/escape.c agent/proxy_head.c agent/file_path.c agent/file_beneath.c agent/route_host.c
/* From the bytes of a request to the place it names: the parser, the search for a route, its parameter, the
   query, the path of a file, the head for a port. Without the token nothing but health is reached. A first
   byte of 1 or 2 means host mode, with two sandboxes: one's token reaches that one and nothing else, and with
   2 the host's reaches none of them. */
#include "agent/agent.h"
#include "agent/confine.h"
#include "agent/file_beneath.h"
#include "agent/file_path.h"
#include "agent/host.h"
#include "agent/process.h"
#include "agent/proxy_head.h"
#include "agent/route.h"
#include "agent/route_host.h"
#include "agent/sandbox.h"
#include "agent/tenant.h"
#include "agent/turn.h"
#include "agent/watch.h"

#include <stdlib.h>
#include <string.h>

#include "wire/limits.h"
#include "wire/names.h"

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) abort();                                                                           \
    } while (0)

static char token[] = "t";
struct agent_config agent = {
    .version = "0", .token = token, .idle_ms = -1, .max_connections = 16, .compatible_token = true};
struct sandbox sandbox_machine = {.id = "", .cwd = "/home/x"};
static bool answered;

static struct tenant tenants[2] = {{.id = "000000000000000a", .token = "ta", .home = (char[]){"/h/a"}},
                                   {.id = "000000000000000b", .token = "tb", .home = (char[]){"/h/b"}}};

struct tenant *tenant_find(const char *id, size_t len) {
    for (int i = 0; i < 2; i++)
        if (len == TENANT_ID && memcmp(tenants[i].id, id, len) == 0) return &tenants[i];
    return NULL;
}

static const struct host host = {
    .route = route_host_find,
    .path_init = file_beneath_init,
};

void conn_make_room(const struct conn *but) {
    (void)but;
}
void agent_shutdown(int status) {
    (void)status;
}
int64_t loop_now(void) {
    return 0;
}
bool confine_report(struct buf *out) {
    return buf_puts(out, "{}");
}
const struct limits *limits_get(void) {
    static const struct limits none;
    return &none;
}
bool confine_report_limits(struct buf *out, const struct limits *l) {
    (void)l;
    return buf_puts(out, "{}");
}
bool confine_report_network(struct buf *out) {
    return buf_puts(out, "{}");
}
void watch_ask(struct watch_waiter *w) {
    (void)w;
}
void watch_unask(struct watch_waiter *w) {
    (void)w;
}
void exchange_json(struct exchange *x, int status, struct buf *json) {
    (void)x;
    (void)status;
    answered = true;
    buf_free(json);
}
void exchange_error(struct exchange *x, enum wire_code code, const char *format, ...) {
    (void)x;
    (void)code;
    (void)format;
    answered = true;
}

static void at_process(struct exchange *x) {
    uint64_t number;
    MUST(x->param == NULL || (x->param[0] != '\0' && strlen(x->param) < TURN_PARAM));
    http_query_u64(x->request, "stdout", &number);
    http_query_bool(x->request, "follow", false);
}

static void at_file(struct exchange *x) {
    struct buf value = BUF_INIT(3 * LIMIT_PATH);
    struct file_path path;
    const char *why;
    uint64_t number;
    http_query_u64(x->request, "offset", &number);
    if (http_query(x->request, "path", &value) &&
        file_path_init(&path, x->sandbox, value.data, value.len, &why)) {
        size_t len;
        const char *name = file_path_name(&path, &len);
        MUST(path.text[0] == '/' && strlen(path.text) == path.len && path.len < LIMIT_PATH);
        MUST(name >= path.text && name + len <= path.text + path.len && memchr(name, '/', len) == NULL);
        MUST(file_path_trimmed(&path) <= path.len);
        if (x->sandbox->tenant != NULL) {
            const char *home = x->sandbox->tenant->home, *rest = path.text + strlen(home);
            MUST(strncmp(path.text, home, strlen(home)) == 0 && (rest[0] == '/' || rest[0] == '\0'));
            MUST(strstr(rest, "/../") == NULL && strstr(rest, "/./") == NULL && strstr(rest, "//") == NULL);
        }
        file_path_free(&path);
    }
    buf_free(&value);
}

static void at_port(struct exchange *x) {
    int port = 0;
    struct buf out = BUF_INIT(2 * LIMIT_HEAD);
    const char *target = proxy_head_target(x->param, &port);
    if (target == NULL) return;
    MUST(port >= 1 && port <= 65535 && target[0] == '/');
    proxy_head_request(x->request, target, x->request->upgrade, &out);
    MUST(out.len > 4 && memcmp(out.data + out.len - 4, "\r\n\r\n", 4) == 0);
    MUST(memmem(out.data, out.len, "\n" HEADER_TOKEN ":", sizeof HEADER_TOKEN + 1) == NULL);
    buf_free(&out);
}

const struct route handle_process_routes[] = {{"POST", "exec", BODY_BUFFERED, 10, at_process},
                                              {"GET", "processes/:id", BODY_NONE, 0, at_process},
                                              {"GET", "processes/:id/output", BODY_NONE, 0, at_process},
                                              {NULL, NULL, BODY_NONE, 0, NULL}};
const struct route handle_files_routes[] = {{"GET", "files/read", BODY_NONE, 0, at_file},
                                            {"PUT", "files/write", BODY_STREAMED, 0, at_file},
                                            {NULL, NULL, BODY_NONE, 0, NULL}};
const struct route handle_proxy_routes[] = {{"*", "proxy/:rest*", BODY_STREAMED, 0, at_port},
                                            {NULL, NULL, BODY_NONE, 0, NULL}};

static void of_the_host(struct exchange *x) {
    MUST(agent.host != NULL && x->sandbox == &sandbox_machine);
}

static void of_nobody(struct exchange *x) {
    MUST(agent.host != NULL && x->sandbox == &sandbox_machine);
}

const struct route handle_sandboxes_routes[] = {{"POST", "sandboxes", BODY_BUFFERED, 10, of_the_host},
                                                {"GET", "sandboxes", BODY_NONE, 0, of_the_host},
                                                {"DELETE", "sandboxes/:id", BODY_NONE, 0, of_the_host},
                                                {"GET", "sandboxes/:id/token", BODY_NONE, 0, of_the_host},
                                                {NULL, NULL, BODY_NONE, 0, NULL}};
const struct route handle_absent_routes[] = {{"GET", "processes", BODY_NONE, 0, of_nobody},
                                             {NULL, NULL, BODY_NONE, 0, NULL}};

const struct route handle_host_routes[] = {{"GET", "info", BODY_NONE, 0, of_the_host},
                                           {"POST", "shutdown", BODY_NONE, 0, of_the_host},
                                           {NULL, NULL, BODY_NONE, 0, NULL}};
const struct route handle_scoped_routes[] = {{"GET", "info", BODY_NONE, 0, NULL},
                                             {NULL, NULL, BODY_NONE, 0, NULL}};
bool tenant_disk_admits(struct exchange *x, const struct route *r) {
    (void)r;
    return x->sandbox->tenant != NULL;
}
const struct route *tenant_starts_route(const struct route *r) {
    return r;
}

/* Whose token it is that opens what was found: the host's, or that of the sandbox whose id the path has. */
static void check_scope(const struct exchange *x, const struct route *found, const char *given) {
    bool hosts = given != NULL && strcmp(given, token) == 0;
    const struct tenant *t = x->sandbox->tenant;
    if (t == NULL) {
        bool own_end = false; /* a sandbox's token ends that sandbox */
        for (int i = 0; i < 2 && given != NULL && strcmp(found->method, "DELETE") == 0; i++)
            own_end =
                own_end || (strcmp(x->param, tenants[i].id) == 0 && strcmp(given, tenants[i].token) == 0);
        MUST(hosts || own_end || strcmp(found->pattern, "health") == 0);
        return;
    }
    MUST(given != NULL && (strcmp(given, t->token) == 0 || (hosts && agent.compatible_token)));
    const char *id = x->request->target + strspn(x->request->target, "/") + strlen("v1/sandboxes/");
    MUST(strncmp(id, t->id, TENANT_ID) == 0 && id[TENANT_ID] == '/');
}

static void request(const struct http_request *r) {
    struct turn t = {.x = {.request = r}};
    bool authenticated = false;
    answered = false;
    const struct route *found = route_find(&t.x, &authenticated);
    MUST((found != NULL) != answered);
    const char *given = http_header(r, HEADER_TOKEN);
    if (agent.host != NULL) {
        if (found != NULL) check_scope(&t.x, found, given);
    } else
        MUST(authenticated == (given != NULL && strcmp(given, token) == 0) || found == NULL ||
             strcmp(found->pattern, "health") == 0);
    if (found != NULL && found->start != NULL && strcmp(found->pattern, "info") != 0) found->start(&t.x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct http_parser *p = http_new();
    const char *at = (const char *)data, *body = NULL;
    if (p == NULL) return 0;
    agent.host = NULL;
    if (size > 0 && (data[0] == 1 || data[0] == 2)) {
        agent.host = &host;
        agent.compatible_token = data[0] == 1;
        for (int i = 0; i < 2; i++) {
            tenants[i].sandbox =
                (struct sandbox){.id = tenants[i].id, .cwd = tenants[i].home, .tenant = &tenants[i]};
        }
        at++;
        size--;
    }
    for (;;) {
        size_t used = 0, body_len = 0;
        enum http_event e = http_parse(p, at, size, &used, &body, &body_len);
        at += used;
        size -= used;
        if (e == HTTP_HEADERS) request(http_request(p));
        if (e == HTTP_DONE) http_next(p);
        if (e == HTTP_BAD || e == HTTP_MORE) break;
    }
    http_free(p);
    return 0;
}
