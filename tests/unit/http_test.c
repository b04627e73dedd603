// links: agent/http.c agent/http_query.c
#include "agent/http.h"

#include "check.h"
#include "wire/limits.h"

/* Everything that a run of the parser reported, as text: whatever the pieces, it must be the same. */
static void run(const char *data, size_t len, const size_t *cuts, size_t cut_count, struct buf *log) {
    struct http_parser *p = http_new();
    buf_clear(log);
    size_t at = 0, cut = 0;
    for (;;) {
        size_t stop = cut < cut_count ? cuts[cut] : len, used, body_len;
        const char *body;
        /* A copy of its own per piece, so that a read past its end is seen by the sanitizer. */
        char *piece = malloc(stop - at + 1);
        memcpy(piece, data + at, stop - at);
        char *exact = realloc(piece, stop - at == 0 ? 1 : stop - at);
        enum http_event e = http_parse(p, exact, stop - at, &used, &body, &body_len);
        const struct http_request *r = http_request(p);
        if (e == HTTP_HEADERS) {
            buf_printf(log, "[%s %s?%s %lld %d%d%d%d.%d", r->method, r->target, r->query,
                       (long long)r->content_length, r->chunked, r->keep_alive, r->expect_continue,
                       r->upgrade, r->minor);
            for (size_t i = 0; i < r->header_count; i++)
                buf_printf(log, " %s=%s", r->headers[i].name, r->headers[i].value);
            buf_puts(log, "]");
        }
        if (e == HTTP_BODY) buf_append(log, body, body_len);
        if (e == HTTP_DONE) {
            buf_puts(log, "$");
            http_next(p);
        }
        if (e == HTTP_BAD) buf_printf(log, "!%d", http_bad_status(p));
        free(exact);
        at += used;
        if (e == HTTP_BAD || (e == HTTP_MORE && at == len)) break;
        if (e == HTTP_MORE) CHECK_EQ(at, stop);
        if (at == stop && cut < cut_count) cut++;
    }
    http_free(p);
}

static void whole(const char *data, size_t len, struct buf *log) {
    run(data, len, NULL, 0, log);
}

static const char *parse(const char *text) {
    static struct buf log = BUF_INIT(MIB(1));
    whole(text, strlen(text), &log);
    return log.data;
}

static void requests(void) {
    CHECK_STR(parse("GET /a/b?c=d HTTP/1.1\r\nHost: x\r\nA:  b \t\r\n\r\n"),
              "[GET /a/b?c=d 0 0100.1 Host=x A=b]$");
    CHECK_STR(parse("POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabcGET /n HTTP/1.1\r\n\r\n"),
              "[POST /? 3 0000.0 Content-Length=3]abc$[GET /n? 0 0100.1]$");
    CHECK_STR(parse("PUT / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nExpect: "
                    "100-continue\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n"),
              "[PUT /? -1 1110.1 Transfer-Encoding=Chunked Expect=100-continue]abcde$");
    CHECK_STR(parse("GET / HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"),
              "[GET /? 0 0101.1 Connection=keep-alive, Upgrade Upgrade=websocket]$");
    CHECK_STR(parse("GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n"),
              "[GET /? 0 0000.1 Connection=x, Close]$");
    CHECK_STR(parse("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"),
              "[GET /? 0 0100.0 Connection=Keep-Alive]$");
    CHECK_STR(parse("GET / HTTP/1.1\r\nEmpty:\r\nBytes: \xC3\xA4\xFF\r\n\r\n"),
              "[GET /? 0 0100.1 Empty= Bytes=\xC3\xA4\xFF]$");
    CHECK_STR(parse("\r\nGET / HTTP/1.1\r\n\r\n"), "[GET /? 0 0100.1]$");
    CHECK_STR(parse("GET /?a?b HTTP/1.1\r\n\r\n"), "[GET /?a?b 0 0100.1]$");
    CHECK_STR(parse("GET // HTTP/1.1\r\nContent-Length: 000\r\n\r\n"),
              "[GET //? 0 0100.1 Content-Length=000]$");
}

/* What another parser could understand differently. */
static void refusals(void) {
    static const char *const heads[] = {
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1 \r\n\r\n",
        " GET / HTTP/1.1\r\n\r\n",
        "GET\t/ HTTP/1.1\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/0.9\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "GET / HTTP/1.2\r\n\r\n",
        "GET / HTTP/1.10\r\n\r\n",
        "GET / http/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\n\r\n",
        "GET a HTTP/1.1\r\n\r\n",
        "GET /#f HTTP/1.1\r\n\r\n",
        "GET /\x80 HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\n\n",
        "GET / HTTP/1.1\r\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\n\r\n",
        "GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\n A: b\r\n\r\n",
        "GET / HTTP/1.1\r\nA : b\r\n\r\n",
        "GET / HTTP/1.1\r\nA\r\n\r\n",
        "GET / HTTP/1.1\r\n: b\r\n\r\n",
        "GET / HTTP/1.1\r\nA(: b\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\x01\r\n\r\n",
        "GET / HTTP/1.1\r\nA: \x7F\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: \r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1,1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1 1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 0x1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 9223372036854775808\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 18446744073709551617\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: \r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: \"chunked\"\r\n\r\n",
        "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nExpect: 100-continue\r\nExpect: x\r\n\r\n",
        "FETCH / HTTP/1.1\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "\x16\x03\x01\x02",
        "GET / HTTP/1.1\r\nA: b\r\n\rX",
        "get / HTTP/1.1\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        const char *got = parse(heads[i]);
        if (strcmp(got, "!400") != 0) printf("%zu: %s", i, heads[i]);
        CHECK_STR(got, "!400");
    }
    static const char nul[] = "GET / HTTP/1.1\r\nA: b\0c\r\n\r\n";
    struct buf log = BUF_INIT(KIB(1));
    whole(nul, sizeof nul - 1, &log);
    CHECK_STR(log.data, "!400");
    buf_free(&log);
}

static void chunks(void) {
    static const struct {
        const char *body, *result;
    } cases[] = {
        {"0\r\n\r\n", "$"},
        {"3\r\nabc\r\n0\r\n\r\n", "abc$"},
        {"A\r\n0123456789\r\n00\r\n\r\n", "0123456789$"},
        {"3;a=\"b c\"\r\nabc\r\n0;x\r\n\r\n", "abc$"},
        {"3\nabc\r\n0\r\n\r\n", "!400"},
        {"3\r\nabc\n0\r\n\r\n", "abc!400"},
        {"3\r\nabcd\r\n0\r\n\r\n", "abc!400"},
        {"3\r\nab\r\n0\r\n\r\n", "ab\r!400"},
        {"\r\n", "!400"},
        {"x\r\n", "!400"},
        {"-1\r\n", "!400"},
        {"+1\r\na\r\n", "!400"},
        {"0x1\r\na\r\n", "!400"},
        {" 1\r\na\r\n", "!400"},
        {"1 \r\na\r\n", "!400"},
        {"1\r\ra\r\n", "!400"},
        {"10000000000000000\r\n", "!400"},
        {"1;a\rb\r\na\r\n", "!400"},
        {"1;a\nb\r\na\r\n", "!400"},
        {"0\r\nT: v\n\r\n", "!400"},
        {"0\r\nT: v\r\n x\r\n\r\n", "!400"},
        {"0\r\n\rX", "!400"},
        {"0\r\n\n", "!400"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256], want[256];
        snprintf(text, sizeof text, "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%s", cases[i].body);
        snprintf(want, sizeof want, "[PUT /? -1 1100.1 Transfer-Encoding=chunked]%s", cases[i].result);
        const char *got = parse(text);
        if (strcmp(got, want) != 0) printf("case %zu\n", i);
        CHECK_STR(got, want);
    }
}

static void put_many(struct buf *text, size_t count) {
    buf_clear(text);
    buf_puts(text, "GET / HTTP/1.1\r\n");
    for (size_t i = 0; i < count; i++)
        buf_printf(text, "A%zu: b\r\n", i);
    buf_puts(text, "\r\n");
}

static void limits(void) {
    struct buf text = BUF_INIT(MIB(1)), log = BUF_INIT(MIB(1));
    put_many(&text, LIMIT_HEADERS);
    whole(text.data, text.len, &log);
    CHECK_EQ(log.data[log.len - 1], '$');
    put_many(&text, LIMIT_HEADERS + 1);
    whole(text.data, text.len, &log);
    CHECK_STR(log.data, "!431");
    for (int over = 0; over < 2; over++) {
        buf_clear(&text);
        buf_puts(&text, "GET / HTTP/1.1\r\nA: ");
        while (text.len < LIMIT_HEAD - 4 + (size_t)over)
            buf_putc(&text, 'x');
        buf_puts(&text, "\r\n\r\n");
        whole(text.data, text.len, &log);
        CHECK_EQ(log.data[0], over ? '!' : '[');
    }
    /* Chunk extensions and trailers without end. */
    for (int trailer = 0; trailer < 2; trailer++) {
        buf_clear(&text);
        buf_printf(&text, "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%s", trailer ? "0\r\n" : "1;");
        for (int i = 0; i < 4000; i++)
            buf_puts(&text, trailer ? "T: v\r\n" : "aaaa");
        whole(text.data, text.len, &log);
        CHECK_STR(log.data + log.len - 4, "!400");
    }
    buf_free(&text);
    buf_free(&log);
}

/* Any bytes in any pieces give what they give in one piece. */
static void pieces(void) {
    static const char *const texts[] = {
        "GET /a?b HTTP/1.1\r\nHost: x\r\n\r\nPOST /c HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloGET / "
        "HTTP/1.1\r\n\r\n",
        "PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;a=b\r\n!\r\n0\r\nT: "
        "v\r\n\r\nGET /b HTTP/1.1\r\n\r\n",
        "PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;a=\x01",
        "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
    };
    struct buf want = BUF_INIT(MIB(1)), got = BUF_INIT(MIB(1));
    srand(1);
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
        size_t len = strlen(texts[t]), cuts[256];
        whole(texts[t], len, &want);
        for (int round = 0; round < 300; round++) {
            size_t count = 0;
            for (size_t i = 1; i < len; i++)
                if (round == 0 || rand() % (round % 10 + 1) == 0) cuts[count++] = i;
            run(texts[t], len, cuts, count, &got);
            CHECK_STR(got.data, want.data);
        }
    }
    buf_free(&want);
    buf_free(&got);
}

static void queries(void) {
    struct http_request r = {
        .query = (char[]){"a=1&b=x%20y+z&a=2&c&d=&p%61th=%2Fx&flag=false&n=12&bad=1x&on=1&odd=yes"}};
    struct buf out = BUF_INIT(KIB(1));
    uint64_t n = 0;
    CHECK(http_query(&r, "a", &out));
    CHECK_STR(out.data, "2");
    CHECK(http_query(&r, "b", &out));
    CHECK_STR(out.data, "x y z");
    CHECK(http_query(&r, "c", &out));
    CHECK_EQ(out.len, 0);
    CHECK(http_query(&r, "d", &out));
    CHECK_EQ(out.len, 0);
    CHECK(http_query(&r, "path", &out));
    CHECK_STR(out.data, "/x");
    CHECK(!http_query(&r, "e", &out));
    CHECK(!http_query_bool(&r, "flag", true));
    CHECK(http_query_bool(&r, "on", false));
    CHECK(http_query_bool(&r, "odd", true));
    CHECK(!http_query_bool(&r, "none", false));
    CHECK_EQ(http_query_u64(&r, "n", &n), 1);
    CHECK_EQ(n, 12);
    CHECK_EQ(http_query_u64(&r, "bad", &n), -1);
    CHECK_EQ(http_query_u64(&r, "none", &n), 0);
    buf_free(&out);
}

CHECK_MAIN(requests, refusals, chunks, limits, pieces, queries)
