// links: agent/route.c agent/handle_machine.c agent/handle_info.c agent/escape.c
#include "agent/agent.h"
#include "agent/confine.h"
#include "agent/process.h"
#include "agent/route.h"
#include "agent/sandbox.h"
#include "agent/tenant.h"
#include "agent/turn.h"
#include "agent/watch.h"

#include <stdarg.h>

#include "check.h"

/* What route.c calls: the routes are tried without a connection, a process or a sandbox. */
static char secret[] = "secret", no_query[] = "";
struct agent_config agent = {.version = "1", .token = secret, .idle_ms = -1};
struct sandbox sandbox_machine = {.id = "", .cwd = "/", .processes = {.running = 2, .finished = 3}};
static enum wire_code answered;
static char answer[512];
static bool ended;

void agent_shutdown(int status) {
    (void)status;
    ended = true;
}
int64_t loop_now(void) {
    return 5;
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
    w->done(w, &(struct watch_usage){.known = true, .memory = 7});
}
void watch_unask(struct watch_waiter *w) {
    (void)w;
}
void exchange_json(struct exchange *x, int status, struct buf *json) {
    (void)x;
    (void)status;
    snprintf(answer, sizeof answer, "%s", json->data);
    buf_free(json);
}
void exchange_error(struct exchange *x, enum wire_code code, const char *format, ...) {
    va_list args;
    (void)x;
    va_start(args, format);
    vsnprintf(answer, sizeof answer, format, args);
    va_end(args);
    answered = code;
}

static void start(struct exchange *x) {
    (void)x;
}
const struct route handle_process_routes[] = {{"POST", "exec", BODY_BUFFERED, 10, start},
                                              {"GET", "processes/:id", BODY_NONE, 0, start},
                                              {"GET", "processes/:id/output", BODY_NONE, 0, start},
                                              {NULL, NULL, BODY_NONE, 0, NULL}};
const struct route handle_files_routes[] = {{"PUT", "files/write", BODY_STREAMED, 0, start},
                                            {NULL, NULL, BODY_NONE, 0, NULL}};
const struct route handle_proxy_routes[] = {{"*", "proxy/:rest*", BODY_STREAMED, 0, start},
                                            {NULL, NULL, BODY_NONE, 0, NULL}};

static struct turn turn;
static bool authenticated;

static const struct route *find(const char *method, const char *target, const char *token) {
    static struct http_header headers[2];
    static struct http_request request;
    headers[0] = (struct http_header){.name = "x-SANDBOX-token", .value = token};
    request = (struct http_request){.method = method,
                                    .target = target,
                                    .query = no_query,
                                    .headers = headers,
                                    .header_count = token != NULL};
    memset(&turn, 0, sizeof turn);
    turn.x.request = &request;
    authenticated = false;
    answered = WIRE_OK;
    answer[0] = '\0';
    return route_find(&turn.x, &authenticated);
}

/* The pattern that was found and what stood for its parameter, or the code of the answer. */
static const char *found(const char *method, const char *target) {
    static char text[256];
    const struct route *r = find(method, target, "secret");
    CHECK_EQ(authenticated, true);
    snprintf(text, sizeof text, "%s %s", r != NULL ? r->pattern : codes_name(answered),
             r != NULL && turn.x.param != NULL ? turn.x.param : "-");
    return text;
}

static void patterns(void) {
    CHECK_STR(found("POST", "/v1/exec"), "exec -");
    CHECK_STR(found("POST", "//v1/exec//"), "exec -");
    CHECK_STR(found("GET", "/v1/processes/p-1"), "processes/:id p-1");
    CHECK_STR(found("HEAD", "/v1/processes/p-1/"), "processes/:id p-1");
    CHECK_STR(found("GET", "/v1/processes/7/output"), "processes/:id/output 7");
    CHECK_STR(found("GET", "/v1/proxy/80"), "proxy/:rest* 80");
    CHECK_STR(found("BREW", "/v1/proxy/80/a//b/"), "proxy/:rest* 80/a//b/");
    CHECK_STR(found("GET", "/v1/info"), "info -");
    CHECK_STR(found("POST", "/v1/shutdown"), "shutdown -");
}

static void no_routes(void) {
    static const char *const targets[] = {"/",
                                          "/v1",
                                          "/v1/",
                                          "/v2/exec",
                                          "/v1/ex",
                                          "/v1/execs",
                                          "/v1/exec/x",
                                          "/v1//exec",
                                          "/v1/processes/",
                                          "/v1/processes//output",
                                          "/v1/proxy",
                                          "/v1/proxy/",
                                          "/v1/ex%65c",
                                          "/v1/processes/1/out",
                                          "/exec",
                                          "/v1/health",
                                          "/v1exec"};
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        CHECK(find("POST", targets[i], "secret") == NULL);
        CHECK_EQ(answered, WIRE_NO_ROUTE);
    }
    CHECK(find("GET", "/v1/exec", "secret") == NULL);
    CHECK_STR(answer, "no route: GET /v1/exec");
    CHECK(find("HEAD", "/v1/exec", "secret") == NULL);
    char long_id[300] = "/v1/processes/";
    memset(long_id + strlen(long_id), 'x', 200);
    CHECK(find("GET", long_id, "secret") == NULL);
}

static void tokens(void) {
    static const char *const wrong[] = {NULL, "", "secre", "secret ", "secretsecret", "Secret", "xecret"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK(find("POST", "/v1/exec", wrong[i]) == NULL);
        CHECK_EQ(answered, WIRE_FORBIDDEN);
        CHECK(!authenticated);
        CHECK(find("POST", "/v1/none", wrong[i]) == NULL);
        CHECK_EQ(answered, WIRE_FORBIDDEN);
    }
    agent.token = NULL;
    CHECK(find("POST", "/v1/exec", NULL) != NULL && authenticated);
    agent.token = secret;
}

static void health(void) {
    const struct route *r = find("GET", "/health", NULL);
    CHECK(r != NULL && !authenticated);
    r->start(&turn.x);
    CHECK_STR(answer, "{\"status\":\"ok\",\"protocol\":3}");
    CHECK(find("HEAD", "/health/", NULL) != NULL);
    CHECK(find("POST", "/health", NULL) == NULL);
    r = find("GET", "/health", "secret");
    CHECK(!authenticated); /* a look at the health is no activity */
    r->start(&turn.x);
    CHECK(strstr(answer, "\"auth\":\"required\"") != NULL &&
          strstr(answer, "\"features\":[\"keys\"") != NULL);
    r = find("POST", "/v1/shutdown", "secret");
    r->start(&turn.x);
    CHECK(ended);
}

CHECK_MAIN(patterns, no_routes, tokens, health)
