// links: client
#include "check.h"
#include "client/frame_reader.h"
#include "client/ndjson_reader.h"
#include "client/output_queue.h"

/* What a reader makes of a stream, as text. */
static struct buf said;

static void say(const struct stream_event *e) {
    switch (e->kind) {
    case STREAM_START:
        buf_printf(&said, "start %s %lld;", e->id, (long long)e->pid);
        break;
    case STREAM_OUTPUT:
        /* Pieces of one frame come in any sizes: only what follows on counts. */
        for (size_t i = 0; i < e->len; i++)
            buf_printf(&said, "%d@%llu=%02x;", e->stream, (unsigned long long)(e->offset + i),
                       (unsigned char)e->data[i]);
        break;
    case STREAM_GAP:
        buf_printf(&said, "gap %d@%llu+%llu;", e->stream, (unsigned long long)e->offset,
                   (unsigned long long)e->dropped);
        break;
    case STREAM_PING:
        buf_puts(&said, "ping;");
        break;
    case STREAM_EXIT:
        buf_printf(&said, "exit %d %d %d %lld %zu %s;", e->exit.exit_code, e->exit.signal, e->exit.timed_out,
                   (long long)e->exit.duration_ms, e->exit.survivors, e->exit.limit);
        break;
    case STREAM_HELD:
        buf_puts(&said, "held;");
        break;
    }
}

typedef enum stream_read next_fn(void *reader, const char **data, size_t *len, struct stream_event *out);

static bool feed(next_fn *next, void *reader, const char *data, size_t len) {
    for (;;) {
        struct stream_event event;
        enum stream_read read = next(reader, &data, &len, &event);
        if (read == STREAM_MORE) {
            CHECK_EQ(len, 0);
            return true;
        }
        if (read == STREAM_BAD) return false;
        say(&event);
    }
}

static enum stream_read next_frame(void *reader, const char **data, size_t *len, struct stream_event *out) {
    return frame_reader_next(reader, data, len, out);
}

static enum stream_read next_line(void *reader, const char **data, size_t *len, struct stream_event *out) {
    return ndjson_reader_next(reader, data, len, out);
}

static void put(struct buf *out, enum frame_type type, uint64_t offset, const void *payload, size_t len) {
    unsigned char header[FRAME_HEADER];
    frame_encode(&(struct frame){.type = type, .length = (uint32_t)len, .offset = offset}, header);
    buf_append(out, header, sizeof header);
    buf_append(out, payload, len);
}

static void put_text(struct buf *out, enum frame_type type, const char *text) {
    put(out, type, 0, text, strlen(text));
}

static void frames_in_any_pieces(void) {
    struct buf wire = BUF_INIT(1 << 20);
    unsigned char gap[9] = {FRAME_STDERR};
    frame_put_u64(300, gap + 1);
    put_text(&wire, FRAME_START, "{\"id\":\"p-3\",\"pid\":17,\"tag\":null}");
    put(&wire, FRAME_STDOUT, 5, "a\0b", 3);
    put(&wire, FRAME_STDOUT, 8, "", 0);
    put(&wire, FRAME_PING, 0, "", 0);
    put(&wire, FRAME_GAP, 10, gap, sizeof gap);
    put(&wire, FRAME_STDERR, 310, "e", 1);
    put_text(&wire, FRAME_EXIT,
             "{\"exit_code\":null,\"signal\":9,\"timed_out\":true,\"duration_ms\":12,\"survivors\":[4,5],"
             "\"limit\":\"memory\"}");
    const char *expected =
        "start p-3 17;0@5=61;0@6=00;0@7=62;ping;gap 1@10+300;1@310=65;exit -1 9 1 12 2 memory;";
    for (size_t cut = 0; cut <= wire.len; cut++) {
        struct frame_reader reader;
        frame_reader_init(&reader);
        buf_init(&said, 1 << 20);
        CHECK(feed(next_frame, &reader, wire.data, cut));
        CHECK(feed(next_frame, &reader, wire.data + cut, wire.len - cut));
        CHECK_STR(said.data, expected);
        buf_free(&said);
        frame_reader_free(&reader);
    }
    struct frame_reader reader;
    frame_reader_init(&reader);
    buf_init(&said, 1 << 20);
    for (size_t i = 0; i < wire.len; i++)
        CHECK(feed(next_frame, &reader, wire.data + i, 1));
    CHECK_STR(said.data, expected);
    buf_free(&said);
    frame_reader_free(&reader);
    buf_free(&wire);
}

static bool frames_accept(const void *data, size_t len) {
    struct frame_reader reader;
    frame_reader_init(&reader);
    buf_init(&said, 1 << 20);
    bool ok = feed(next_frame, &reader, data, len);
    buf_free(&said);
    frame_reader_free(&reader);
    return ok;
}

static void bad_frames(void) {
    unsigned char header[FRAME_HEADER] = {0};
    CHECK(!frames_accept(header, sizeof header)); /* type 0 */
    header[0] = FRAME_STDOUT;
    CHECK(frames_accept(header, sizeof header));
    header[2] = 1; /* a reserved byte */
    CHECK(!frames_accept(header, sizeof header));
    struct buf wire = BUF_INIT(1 << 20);
    put(&wire, FRAME_STDOUT, UINT64_MAX - 1, "abc", 3); /* past the end of the numbers */
    CHECK(!frames_accept(wire.data, wire.len));
    buf_clear(&wire);
    put_text(&wire, FRAME_EXIT, "{\"exit_code\":");
    CHECK(!frames_accept(wire.data, wire.len));
    buf_clear(&wire);
    put_text(&wire, FRAME_START, "");
    CHECK(!frames_accept(wire.data, wire.len));
    buf_clear(&wire);
    unsigned char gap[9] = {FRAME_START};
    put(&wire, FRAME_GAP, 0, gap, sizeof gap);
    CHECK(!frames_accept(wire.data, wire.len));
    buf_free(&wire);
}

static void lines_in_any_pieces(void) {
    static const char wire[] =
        "{\"event\":\"start\",\"pid\":7}\n"
        "{\"event\":\"stdout\",\"data\":\"a\\u0000\\u00e9\\ud83d\\ude00\\n\"}\r\n"
        "\n"
        "{\"data\":\"\\\\\\\"\\/\",\"event\":\"stderr\",\"x\":{\"data\":\"no\"}}\n"
        "{\"event\":\"ping\"}\n"
        "{\"event\":\"of another version\",\"data\":[1]}\n"
        "{\"event\":\"gap\",\"stream\":\"stdout\",\"offset\":9,\"dropped\":4}\n"
        "{\"event\":\"stdout\",\"data\":\"z\"}\n"
        "{\"event\":\"exit\",\"exit_code\":3,\"signal\":null,\"timed_out\":false,\"duration_ms\":5}\n";
    const char *expected =
        "start  7;0@0=61;0@1=00;0@2=c3;0@3=a9;0@4=f0;0@5=9f;0@6=98;0@7=80;0@8=0a;1@0=5c;1@1=22;1@2=2f;ping;"
        "gap 0@9+4;0@13=7a;exit 3 0 0 5 0 ;";
    size_t len = sizeof wire - 1;
    for (size_t cut = 0; cut <= len; cut++) {
        struct ndjson_reader reader;
        ndjson_reader_init(&reader);
        buf_init(&said, 1 << 20);
        CHECK(feed(next_line, &reader, wire, cut));
        CHECK(feed(next_line, &reader, wire + cut, len - cut));
        CHECK_STR(said.data, expected);
        buf_free(&said);
        ndjson_reader_free(&reader);
    }
}

static void bad_lines(void) {
    static const char *const bad[] = {
        "{\"event\":\"stdout\"}\n",           "nonsense\n", "{}\n", "[]\n", "{\"event\":5}\n",
        "{\"event\":\"stdout\",\"data\":7}\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ndjson_reader reader;
        ndjson_reader_init(&reader);
        buf_init(&said, 1 << 20);
        CHECK(!feed(next_line, &reader, bad[i], strlen(bad[i])));
        buf_free(&said);
        ndjson_reader_free(&reader);
    }
}

static void queue_joins_what_follows_on(void) {
    struct output_queue queue = {0};
    struct stream_event e = {.kind = STREAM_OUTPUT, .data = "abc", .len = 3, .offset = 10};
    CHECK(output_queue_put(&queue, &e));
    e.offset = 13;
    CHECK(output_queue_put(&queue, &e));
    e.stream = 1;
    CHECK(output_queue_put(&queue, &e));
    CHECK(output_queue_put(
        &queue, &(struct stream_event){.kind = STREAM_GAP, .stream = 1, .offset = 16, .dropped = 4}));
    CHECK(queue.bytes >= 3 * OUTPUT_BLOCK_SMALL);
    struct output_block *block = output_queue_lend(&queue);
    CHECK(block != NULL && block->len == 6 && block->offset == 10 && memcmp(block->data, "abcabc", 6) == 0);
    block = output_queue_lend(&queue);
    CHECK(block != NULL && block->stream == 1 && block->len == 3);
    block = output_queue_lend(&queue);
    CHECK(block != NULL && block->dropped == 4 && block->offset == 16);
    CHECK(output_queue_lend(&queue) == NULL);
    CHECK_EQ(queue.bytes, 0);
    output_queue_clear(&queue);
}

/* What is counted is memory, not what came in it. */
static void queue_counts_its_memory(void) {
    struct output_queue queue = {0};
    size_t taken = 0;
    for (uint64_t i = 0; i < 2000; i++) {
        struct stream_event e = {
            .kind = STREAM_OUTPUT, .stream = (int)(i % 2), .data = "x", .len = 1, .offset = i / 2};
        CHECK(output_queue_put(&queue, &e));
    }
    for (const struct output_block *block = queue.first; block != NULL; block = block->next)
        taken += sizeof *block + block->cap;
    CHECK_EQ(queue.bytes, taken);
    CHECK(taken >= 2000 * OUTPUT_BLOCK_SMALL && taken < 2000 * 512);
    output_queue_clear(&queue);
    /* One stream in small pieces soon gets large blocks. */
    for (uint64_t i = 0; i < 100000; i++) {
        struct stream_event e = {.kind = STREAM_OUTPUT, .data = "x", .len = 1, .offset = i};
        CHECK(output_queue_put(&queue, &e));
    }
    CHECK(queue.bytes < 200000);
    output_queue_clear(&queue);
}

CHECK_MAIN(frames_in_any_pieces, bad_frames, lines_in_any_pieces, bad_lines, queue_joins_what_follows_on,
           queue_counts_its_memory)
