// links: ../tests/hub/proxy_http.c
/* The local Hub's proxy: heads and bodies, whole and in pieces of every size. */
#include "../hub/proxy_http.h"

#include <string.h>

#include "check.h"

static struct head head;

static int parse(const char *text, bool reply) {
    return head_parse(&head, text, strlen(text), reply);
}

static void heads(void) {
    static const char text[] = "PUT /a?b HTTP/1.1\r\nHost: x\r\nAUTHORIZATION: Bearer t\r\nA:  1 "
                               "\t\r\nConnection: keep-alive, Upgrade\r\n\r\n";
    for (size_t len = 0; len < sizeof text - 1; len++)
        CHECK_EQ(head_parse(&head, text, len, false), 0);
    CHECK_EQ(head_parse(&head, text, sizeof text - 1, false), 1);
    CHECK_EQ(head.len, sizeof text - 1);
    CHECK(slice_is(head.method, "put") && slice_is(head.target, "/a?b") &&
          slice_is(head_field(&head, "a"), "1"));
    CHECK(head_has_token(&head, "connection", "upgrade") && !head_has_token(&head, "connection", "up"));
    CHECK(head_field(&head, "b").p == NULL);
    struct buf out = BUF_INIT(1000);
    CHECK(head_write_request(&out, &head, (struct slice){"/new", 4}, false));
    CHECK_STR(out.data, "PUT /new HTTP/1.1\r\nHost: x\r\nA: 1\r\nConnection: Upgrade\r\n\r\n");
    buf_clear(&out);
    CHECK_EQ(parse("HTTP/1.1 206 Some\r\nContent-Length: 3\r\nConnection: close\r\n\r\n", true), 1);
    CHECK(head_write_reply(&out, &head, false));
    CHECK_STR(out.data, "HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\n\r\n");
    buf_free(&out);
    static const char *const bad[] = {"GET /\r\n\r\n",
                                      "GET / HTTP/2.0\r\n\r\n",
                                      "GET  HTTP/1.1\r\n\r\n",
                                      " / HTTP/1.1\r\n\r\n",
                                      "GET / HTTP/1.1x\r\n",
                                      "GET / HTTP/1.1\r\nno colon\r\n",
                                      "GET / HTTP/1.1\r\n: x\r\n",
                                      "GET / HTTP/1.1\r\nA : x\r\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_EQ(parse(bad[i], false), -1);
    CHECK_EQ(parse("HTTP/1.1 20 x\r\n\r\n", true), -1);
}

static bool request_body(struct body *body, const char *fields) {
    struct buf text = BUF_INIT(1000);
    static char kept[1000];
    buf_printf(&text, "POST / HTTP/1.1\r\n%s\r\n", fields);
    memcpy(kept, text.data, text.len + 1);
    buf_free(&text);
    CHECK_EQ(parse(kept, false), 1);
    return body_of_request(body, &head);
}

static void framing(void) {
    struct body body;
    CHECK(request_body(&body, "") && body.done);
    CHECK(request_body(&body, "Content-Length: 0\r\n") && body.done);
    CHECK(request_body(&body, "Content-Length: 5\r\nContent-Length: 5\r\n") && body.left == 5);
    CHECK(request_body(&body, "Transfer-Encoding: Chunked\r\n") && body.kind == BODY_CHUNKED);
    static const char *const bad[] = {"Content-Length: 5\r\nContent-Length: 6\r\n",
                                      "Content-Length: x\r\n",
                                      "Content-Length: -1\r\n",
                                      "Content-Length:\r\n",
                                      "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
                                      "Transfer-Encoding: gzip\r\n",
                                      "Content-Length: 99999999999999999999\r\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!request_body(&body, bad[i]));
    CHECK_EQ(parse("HTTP/1.1 200 x\r\n\r\n", true), 1);
    CHECK(body_of_reply(&body, &head, false) && body.kind == BODY_UNTIL_CLOSE && !body.done);
    CHECK(body_of_reply(&body, &head, true) && body.done);
    CHECK_EQ(parse("HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n", true), 1);
    CHECK(body_of_reply(&body, &head, false) && body.done);
    CHECK_EQ(parse("HTTP/1.1 101 x\r\n\r\n", true), 1);
    CHECK(body_of_reply(&body, &head, false) && body.kind == BODY_TUNNEL);
}

/* The body ends at the same byte, however its bytes come. */
static void pieces(void) {
    static const char text[] = "5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\nGET / next";
    size_t whole = sizeof text - 1 - strlen("GET / next");
    for (size_t size = 1; size < sizeof text; size++) {
        struct body body;
        size_t used = 0;
        CHECK(request_body(&body, "Transfer-Encoding: chunked\r\n"));
        while (!body.done && used < sizeof text - 1) {
            size_t step = size < sizeof text - 1 - used ? size : sizeof text - 1 - used;
            used += body_take(&body, text + used, step);
        }
        CHECK(body.done && !body.bad);
        CHECK_EQ(used, whole);
    }
    static const char *const bad[] = {"x\r\n", "5\r\nhelloX", "-1\r\n", "\t5\r\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct body body;
        CHECK(request_body(&body, "Transfer-Encoding: chunked\r\n"));
        body_take(&body, bad[i], strlen(bad[i]));
        CHECK(body.bad);
    }
    struct body body;
    CHECK(request_body(&body, "Content-Length: 5\r\n"));
    CHECK_EQ(body_take(&body, "abc", 3), 3);
    CHECK(!body.done);
    CHECK_EQ(body_take(&body, "defgh", 5), 2);
    CHECK(body.done);
}

CHECK_MAIN(heads, framing, pieces)
