/* What the command prints for people and programs. */
// links: cli/print.c cli/signals.c
#include "cli/print.h"

#include <fcntl.h>
#include <unistd.h>

#include "check.h"

static char printed[1 << 16];
static int to, before;

static void begin(void) {
    char name[] = "/tmp/print_test.XXXXXX";
    to = mkstemp(name);
    unlink(name);
    fflush(stdout);
    before = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    CHECK(to >= 0 && before >= 0 && dup2(to, STDOUT_FILENO) >= 0);
}

/* The first bytes of it, and how many there were. */
static size_t end(void) {
    fflush(stdout);
    dup2(before, STDOUT_FILENO);
    close(before);
    off_t size = lseek(to, 0, SEEK_END);
    ssize_t len = pread(to, printed, sizeof printed - 1, 0);
    close(to);
    printed[len > 0 ? len : 0] = '\0';
    return (size_t)size;
}

static void json_that_another_wrote(void) {
    static const char *const texts[][2] = {
        {"{\"a\": [1, -2.5e3, true]}", "{\"a\": [1, -2.5e3, true]}\n"},
        {"{\"a\":\r\n\t1}\r", "{\"a\":1}\n"},
        {"\"\xc2\x9b|\x9b|\x7f|\xe2\x80\xae|\xc3\xa9|\xf0\x9f\x98\x80|\xf3\xa0\x80\x81\"",
         "\"\\u009b|\\ufffd|\\u007f|\\u202e|\\u00e9|\\ud83d\\ude00|\\udb40\\udc01\"\n"},
        {"\"\\u001b\\\"\xed\xa0\x80\xc3\"", "\"\\u001b\\\"\\ufffd\\ufffd\\ufffd\\ufffd\"\n"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        begin();
        print_json_whole(texts[i][0], strlen(texts[i][0]));
        end();
        CHECK_STR(printed, texts[i][1]);
    }
}

static void json_of_texts(void) {
    struct print_json json = {0};
    const char *text = "\xc3\xa9\xc2\x9b\x9b\xf3\xa0\x80\x81\n\"";
    begin();
    print_json_text(&json, text, strlen(text));
    end();
    CHECK_STR(printed, "\"\xc3\xa9\\u009b\\ufffd\\udb40\\udc01\\u000a\\\"\"");
}

static void tables(void) {
    struct print_table *table = print_table_new(3, (const char *const[]){"NAME", "N", "LAST"}, "lrl");
    static const char *const cells[] = {"a", "1", "x", "longer", "12345", "y"};
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++)
        print_table_cell(table, "%s", cells[i]);
    begin();
    print_table_end(table);
    end();
    CHECK_STR(printed, "NAME        N  LAST\na           1  x\nlonger  12345  y\n");
}

/* Minutes and hours, were each cell compared with all of its column. */
static void a_large_table(void) {
    struct print_table *table = print_table_new(2, (const char *const[]){"A", "B"}, "lr");
    for (size_t i = 0; i < 400000; i++)
        print_table_cell(table, "%06zu", i);
    begin();
    print_table_end(table);
    CHECK_EQ(end(), 200001 * 15);
}

CHECK_MAIN(json_that_another_wrote, json_of_texts, tables, a_large_table)
