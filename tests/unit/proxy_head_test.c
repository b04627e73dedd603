// links: agent/proxy_head.c agent/http.c agent/http_query.c
#include "agent/proxy_head.h"

#include "check.h"
#include "wire/limits.h"

static void targets(void) {
    int port = 0;
    CHECK_STR(proxy_head_target("80", &port), "/");
    CHECK_EQ(port, 80);
    CHECK_STR(proxy_head_target("65535/", &port), "/");
    CHECK_STR(proxy_head_target("1/a/b/", &port), "/a/b/");
    CHECK_STR(proxy_head_target("8080//a", &port), "//a");
    static const char *const bad[] = {"",   "0",   "65536", "99999", "100000", "x",   "80x",
                                      "-1", "+80", " 80",   "80 ",   "/80",    "0x50"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(proxy_head_target(bad[i], &port) == NULL);
}

static const char *forward(const char *head, bool upgrade) {
    static struct buf out = BUF_INIT(KIB(64));
    struct http_parser *p = http_new();
    size_t used, body_len;
    const char *body;
    buf_clear(&out);
    CHECK_EQ(http_parse(p, head, strlen(head), &used, &body, &body_len), HTTP_HEADERS);
    proxy_head_request(http_request(p), "/x/", upgrade, &out);
    http_free(p);
    return out.data;
}

static void requests(void) {
    CHECK_STR(forward("GET /p?q=%20&r HTTP/1.1\r\nHost: h\r\nCookie: a\r\nX-Sandbox-Token: "
                      "t\r\nAUTHORIZATION: b\r\nCookie: c\r\n\r\n",
                      false),
              "GET /x/?q=%20&r HTTP/1.1\r\nHost: h\r\nCookie: a\r\nCookie: c\r\nConnection: close\r\n\r\n");
    CHECK_STR(forward("POST / HTTP/1.1\r\nContent-Length: 007\r\nConnection: keep-alive, X-Hop\r\nX-Hop: "
                      "1\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
                      "Expect: 100-continue\r\nX-Sandbox-Key: k\r\n\r\n",
                      false),
              "POST /x/ HTTP/1.1\r\nContent-Length: 7\r\nConnection: close\r\n\r\n");
    CHECK_STR(forward("POST / HTTP/1.1\r\nTransfer-Encoding: CHUNKED\r\nUpgrade: h2c\r\n\r\n", false),
              "POST /x/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
    CHECK_STR(
        forward("GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n",
                true),
        "GET /x/ HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\nConnection: Upgrade\r\n\r\n");
    CHECK_STR(forward("GET / HTTP/1.0\r\n\r\n", false), "GET /x/ HTTP/1.0\r\nConnection: close\r\n\r\n");
}

static int scan(const char *text, struct proxy_response *r) {
    return proxy_head_scan(text, strlen(text), r);
}

static void responses(void) {
    static struct buf out = BUF_INIT(KIB(64));
    struct proxy_response r;
    static const char whole[] = "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nkeep-alive: timeout=5\r\n "
                                "x\r\nA: b\r\n c\r\ncontent-length:  5\r\n\r\n";
    for (size_t len = 1; len < sizeof whole - 1; len++)
        CHECK_EQ(proxy_head_scan(whole, len, &r), 0);
    CHECK_EQ(scan(whole, &r), 1);
    CHECK_EQ(r.status, 200);
    CHECK_EQ(r.length, 5);
    CHECK_EQ(r.head, sizeof whole - 1);
    proxy_head_response(whole, &r, &out);
    CHECK_STR(out.data, "HTTP/1.1 200 OK\r\nA: b c\r\ncontent-length:  5\r\nConnection: close\r\n\r\n");
    CHECK_EQ(scan("HTTP/1.0 404 \n\nx", &r), 1);
    CHECK_EQ(r.head, 15);
    CHECK_EQ(r.length, -1);
    CHECK_EQ(scan("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", &r), 1);
    CHECK_EQ(r.length, 0);
    static const char *const bad[] = {"x",
                                      "HTTX",
                                      "HTTP/2 200\r\n\r\n",
                                      "HTTP/1.1  200 OK\r\n\r\n",
                                      "HTTP/1.1 20\r\n\r\n",
                                      "HTTP/1.1 abc\r\n\r\n",
                                      "HTTP/1.1 099 x\r\n\r\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_EQ(scan(bad[i], &r), -1);
    buf_free(&out);
}

CHECK_MAIN(targets, requests, responses)
