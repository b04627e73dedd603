// links: client
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "check.h"
#include "client/command_body.h"
#include "client/endpoint.h"
#include "client/error.h"
#include "client/io.h"
#include "client/json.h"
#include "client/request.h"
#include "util/clock.h"

static void json_writes_what_it_reads(void) {
    struct buf out = BUF_INIT(4096);
    char bytes[256];
    for (int i = 0; i < 128; i++)
        bytes[i] = (char)i;
    buf_puts(&out, "{\"x\":{\"data\":\"wrong\"},\"data\":");
    json_put(&out, bytes, 128);
    buf_puts(&out, ",\"n\":9007199254740991,\"big\":1e300,\"neg\":-5}");
    struct buf text = BUF_INIT(4096);
    CHECK(json_unescape_member(out.data, out.len, "data", &text));
    CHECK(text.len == 128 && memcmp(text.data, bytes, 128) == 0);
    CHECK(!json_unescape_member(out.data, out.len, "wrong", &text));
    struct json *value = json_parse(out.data, out.len);
    CHECK(value != NULL);
    CHECK_EQ(json_int(value, "n", 0), 9007199254740991);
    CHECK_EQ(json_int(value, "big", 0), 9007199254740992);
    CHECK_EQ(json_uint(value, "neg", 7), 7);
    CHECK_EQ(json_int(value, "x", 3), 3);
    CHECK(json_string(value, "n") == NULL && json_string(NULL, "n") == NULL);
    json_free(value);
    CHECK(json_parse("{} x", 4) == NULL && json_parse("", 0) == NULL && json_parse("{\"a\":", 5) == NULL);
    buf_free(&out);
    buf_free(&text);
}

static void base64_of_every_length(void) {
    static const char *const expected[] = {"\"\"", "\"AA==\"", "\"AAE=\"", "\"AAEC\"", "\"AAECAw==\""};
    unsigned char data[5] = {0, 1, 2, 3, 4};
    for (size_t len = 0; len < 5; len++) {
        struct buf out = BUF_INIT(64);
        CHECK(json_put_base64(&out, data, len));
        CHECK_STR(out.data, expected[len]);
        buf_free(&out);
    }
    struct buf small = BUF_INIT(4);
    CHECK(!json_put_base64(&small, data, 5) && small.failed);
    buf_free(&small);
}

static void env_keeps_the_last(void) {
    struct buf out = BUF_INIT(256);
    json_put_env(&out, (const char *const[]){"A=1", "B=x=y", "A=2", "C=", NULL});
    CHECK_STR(out.data, "{\"B\":\"x=y\",\"A\":\"2\",\"C\":\"\"}");
    buf_free(&out);
}

static void errors_of_replies(void) {
    sbx_error err;
    CHECK_EQ(error_from_reply(&err, "w", 410, "{\"error\":\"e\\nf\",\"code\":\"gone\"}", 30), SBX_ERROR_GONE);
    CHECK_STR(err.message, "w: e?f");
    CHECK_EQ(err.http_status, 410);
    static const char spawn[] = "{\"error\":\"e\",\"code\":\"spawn\",\"errno\":13}";
    CHECK_EQ(error_from_reply(&err, "w", 400, spawn, sizeof spawn - 1), SBX_ERROR_SPAWN);
    CHECK_EQ(err.system_errno, 13);
    CHECK_EQ(error_from_reply(&err, "w", 404, "{\"error\":\"no route: GET /x\"}", 28), SBX_ERROR_UNSUPPORTED);
    CHECK_EQ(error_from_reply(&err, "w", 403, "<html>", 6), SBX_ERROR_AUTH);
    CHECK_EQ(error_from_reply(NULL, "w", 599, NULL, 0), SBX_ERROR_INTERNAL);
    for (int code = -27; code <= 2; code++)
        CHECK(strcmp(sbx_status_name((sbx_status)code), "UNKNOWN") != 0);
    CHECK_STR(sbx_status_name((sbx_status)-28), "UNKNOWN");
}

static void targets_are_encoded(void) {
    struct buf target = BUF_INIT(256);
    buf_puts(&target, "files/read");
    request_query(&target, "path", "a b/\xc3\xa9&%?#+");
    request_query_u64(&target, "offset", UINT64_MAX);
    CHECK_STR(target.data, "files/read?path=a%20b%2F%C3%A9%26%25%3F%23%2B&offset=18446744073709551615");
    buf_free(&target);
}

static void commands_become_json(void) {
    struct command_body body;
    sbx_error err;
    sbx_command command = {SBX_COMMAND_INIT, .argv = (const char *const[]){"a", "\"", NULL},
                           .timeout_ms = 1005, .tag = "t"};
    CHECK_EQ(command_body_make(&body, &command, ENDPOINT_ALL, true, "f", &err), SBX_OK);
    CHECK_STR(body.json.data, "{\"cmd\":[\"a\",\"\\\"\"],\"timeout\":1.005,\"tag\":\"t\"}");
    buf_free(&body.json);
    command = (sbx_command){SBX_COMMAND_INIT, .shell = "x", .input = "\xff", .input_len = 1};
    CHECK_EQ(command_body_make(&body, &command, ENDPOINT_ALL, true, "f", &err), SBX_OK);
    CHECK_STR(body.json.data, "{\"cmd\":\"x\",\"stdin_base64\":\"/w==\"}");
    buf_free(&body.json);
    CHECK_EQ(command_body_make(&body, &command, 0, true, "f", &err), SBX_ERROR_UNSUPPORTED);
    static char large[3 * 1024 * 1024];
    command.input = large, command.input_len = sizeof large;
    CHECK_EQ(command_body_make(&body, &command, ENDPOINT_ALL, true, "f", &err), SBX_OK);
    CHECK(body.feed && body.json.len < 100);
    buf_free(&body.json);
}

static void endpoints_keep_no_header_injection(void) {
    struct endpoint e;
    sbx_error err;
    CHECK_EQ(endpoint_make(&e, ENDPOINT_URL, "http://h//", NULL, -1, "a\r\nb", 0, &err), SBX_ERROR_INVALID);
    CHECK_EQ(endpoint_make(&e, ENDPOINT_URL, "http://h//", NULL, -1, "ab", 0, &err), SBX_OK);
    CHECK_STR(e.url, "http://h");
    CHECK_STR(e.token_header, "X-Sandbox-Token: ab");
    CHECK(!endpoint_is_local(&e));
    endpoint_free(&e);
}

/* ---- io */

static bool never(void *owner) {
    (void)owner;
    return false;
}

static void nothing(void *owner) {
    (void)owner;
}

struct order {
    struct io *io;
    struct io_timer timer;
    struct io_waiter *last;
    int number;
    int *fired;
    int *count;
};

static void fire(void *ctx) {
    struct order *o = ctx;
    o->fired[(*o->count)++] = o->number;
    if (o->last != NULL) io_notify(o->io, o->last);
}

static void timers_fire_in_order(void) {
    struct io io;
    CHECK(io_init(&io, NULL));
    struct order orders[50];
    int fired[50], count = 0;
    struct io_waiter waiter;
    io_waiter_init(&waiter);
    io_lock(&io);
    int64_t now = clock_ms();
    for (int i = 0; i < 50; i++) {
        int at = i * 37 % 50;
        orders[at] = (struct order){
            .io = &io, .number = at, .fired = fired, .count = &count, .last = at == 49 ? &waiter : NULL};
        orders[at].timer = (struct io_timer){.fire = fire, .ctx = &orders[at]};
        CHECK(io_timer_set(&io, &orders[at].timer, now + 500 - at));
    }
    for (int i = 0; i < 50; i++)
        CHECK(io_timer_set(&io, &orders[i].timer, now + 1 + i)); /* moved */
    for (int i = 1; i < 49; i += 3)
        io_timer_clear(&io, &orders[i].timer);
    io_wait(&io, &waiter);
    io_unlock(&io);
    CHECK_EQ(count, 34);
    for (int i = 1; i < count; i++)
        CHECK(fired[i] > fired[i - 1]);
    io_waiter_destroy(&waiter);
    io_stop(&io);
    io_destroy(&io);
}

struct pipe_watch {
    struct io *io;
    struct io_watch watch;
    struct io_watch *other;
    int calls;
    struct io_waiter *waiter;
};

static void readable(void *ctx, unsigned events) {
    struct pipe_watch *p = ctx;
    (void)events;
    p->calls++;
    /* Both are readable in the same round: the other one must not be told any more. */
    io_watch_clear(p->io, p->other);
    io_watch_clear(p->io, &p->watch);
    io_notify(p->io, p->waiter);
}

static void a_cleared_watch_is_silent(void) {
    struct io io;
    CHECK(io_init(&io, NULL));
    int ends[2];
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    int copy = fcntl(ends[0], F_DUPFD_CLOEXEC, 0);
    struct io_waiter waiter;
    io_waiter_init(&waiter);
    struct pipe_watch a = {.io = &io, .waiter = &waiter}, b = a;
    a.watch = (struct io_watch){.ready = readable, .ctx = &a, .fd = ends[0]};
    b.watch = (struct io_watch){.ready = readable, .ctx = &b, .fd = copy};
    a.other = &b.watch, b.other = &a.watch;
    io_lock(&io);
    CHECK(io_watch_set(&io, &a.watch, IO_READ) && io_watch_set(&io, &b.watch, IO_READ));
    CHECK(write(ends[1], "x", 1) == 1);
    io_wait(&io, &waiter);
    io_unlock(&io);
    CHECK_EQ(a.calls + b.calls, 1);
    io_waiter_destroy(&waiter);
    io_stop(&io);
    io_destroy(&io);
    close(ends[0]), close(ends[1]), close(copy);
}

struct party {
    struct io *io;
    struct io_waiter waiter;
    struct io_timer timer;
};

static void wake_party(void *ctx) {
    struct party *p = ctx;
    io_notify(p->io, &p->waiter);
}

static void *wait_often(void *ctx) {
    struct io *io = ctx;
    for (int i = 0; i < 200; i++) {
        struct party p = {.io = io};
        p.timer = (struct io_timer){.fire = wake_party, .ctx = &p};
        io_waiter_init(&p.waiter);
        io_lock(io);
        CHECK(io_timer_set(io, &p.timer, clock_ms() + i % 3));
        if (i % 5 == 0) CHECK(io_background(io, 1));
        io_wait(io, &p.waiter);
        if (i % 5 == 0) io_background(io, -1);
        io_unlock(io);
        io_waiter_destroy(&p.waiter);
    }
    return NULL;
}

static void many_threads_wait_on_one_driver(void) {
    struct io io;
    CHECK(io_init(&io, NULL));
    io.hold = nothing;
    io.let_go = never;
    io.release = never;
    pthread_t threads[8];
    for (int i = 0; i < 8; i++)
        CHECK(pthread_create(&threads[i], NULL, wait_often, &io) == 0);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    io_stop(&io);
    io_destroy(&io);
}

CHECK_MAIN(json_writes_what_it_reads, base64_of_every_length, env_keeps_the_last, errors_of_replies,
           targets_are_encoded, commands_become_json, endpoints_keep_no_header_injection,
           timers_fire_in_order, a_cleared_watch_is_silent, many_threads_wait_on_one_driver)
