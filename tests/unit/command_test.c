// links: agent/command.c agent/json_in.c agent/escape.c
#include "agent/command.h"

#include "check.h"

static char *base[] = {"A=1", "PATH=/bin", "B=2", NULL};

static bool parse(const char *body, struct command *c, struct command_error *e) {
    memset(e, 0, sizeof *e);
    return command_parse(body, strlen(body), base, "/home/x", c, e);
}

static void test_good(void) {
    struct command c;
    struct command_error e;
    CHECK(parse("{\"cmd\":\"echo \\\"a\\\"\"}", &c, &e));
    CHECK_STR(c.argv[0], "/bin/sh");
    CHECK_STR(c.argv[1], "-c");
    CHECK_STR(c.argv[2], "echo \"a\"");
    CHECK(c.argv[3] == NULL);
    CHECK_STR(c.cmd_json, "\"echo \\\"a\\\"\"");
    CHECK_STR(c.cwd, "/home/x");
    CHECK(c.envp == base);
    CHECK_STR(c.path_env, "/bin");
    CHECK(c.timeout_ms == -1 && !c.has_input && !c.background);
    command_free(&c);

    CHECK(parse(
        "{\"cmd\":[\"a\",\"\",\"b "
        "c\"],\"shell\":false,\"cwd\":\"sub\",\"timeout\":1.5,\"tag\":\"t\",\"stdin_base64\":\"AAEC/w==\","
        "\"end\":\"closed\",\"stream_limit\":7,\"background\":true,\"stdin_open\":true,\"env\":null}",
        &c, &e));
    CHECK_STR(c.argv[2], "b c");
    CHECK_STR(c.cmd_json, "[\"a\",\"\",\"b c\"]");
    CHECK_STR(c.cwd, "/home/x/sub");
    CHECK_EQ(c.timeout_ms, 1500);
    CHECK_EQ(c.input_len, 4);
    CHECK(memcmp(c.input, "\0\1\2\377", 4) == 0);
    CHECK(c.until_closed && c.background && c.stdin_open && c.stream_limit == 7);
    command_free(&c);

    CHECK(parse("{\"cmd\":\"\",\"stdin\":\"a\\u0000b\"}", &c,
                &e)); /* an empty command, and bytes of any kind as input */
    CHECK_STR(c.argv[2], "");
    CHECK_EQ(c.input_len, 3);
    command_free(&c);
}

static const char *env_of(const struct command *c, const char *name) {
    const char *found = NULL;
    size_t len = strlen(name);
    for (char **e = c->envp; *e != NULL; e++)
        if (strncmp(*e, name, len) == 0 && (*e)[len] == '=') {
            CHECK(found == NULL);
            found = *e + len + 1;
        }
    return found;
}

static void test_environment(void) {
    struct command c;
    struct command_error e;
    CHECK(parse("{\"cmd\":\"x\",\"env\":{\"N\":1.50,\"T\":true,\"B\":\"new\",\"D\":\"1\",\"D\":\"2\","
                "\"PATH\":\"/x\",\"E\":\"\",\"B2\":\"=\"}}",
                &c, &e));
    CHECK_STR(env_of(&c, "N"), "1.50");
    CHECK_STR(env_of(&c, "T"), "true");
    CHECK_STR(env_of(&c, "A"), "1");
    CHECK_STR(env_of(&c, "B"), "new");
    CHECK_STR(env_of(&c, "D"), "2");
    CHECK_STR(env_of(&c, "E"), "");
    CHECK_STR(env_of(&c, "B2"), "=");
    CHECK_STR(c.path_env, "/x");
    command_free(&c);
}

static void test_bad(void) {
    static const char *cases[][2] = {
        {"", "valid JSON"},
        {"{\"cmd\":", "valid JSON"},
        {"[1]", "must be a JSON object"},
        {"{}", "'cmd' is missing"},
        {"{\"cmd\":null}", "'cmd' is missing"},
        {"{\"cmd\":5}", "'cmd' must be"},
        {"{\"cmd\":[]}", "empty array"},
        {"{\"cmd\":[\"a\",5]}", "item 1 of 'cmd'"},
        {"{\"cmd\":[\"a\",null]}", "item 1 of 'cmd'"},
        {"{\"cmd\":\"a\\u0000b\"}", "NUL"},
        {"{\"cmd\":[\"a\\u0000b\"]}", "NUL"},
        {"{\"cmd\":\"a\",\"shell\":false}", "must be an array"},
        {"{\"cmd\":[\"a\"],\"shell\":true}", "must be a string"},
        {"{\"cmd\":\"a\",\"shell\":1}", "'shell' must be"},
        {"{\"cmd\":\"a\",\"timeout\":-1}", "greater than 0"},
        {"{\"cmd\":\"a\",\"timeout\":0}", "greater than 0"},
        {"{\"cmd\":\"a\",\"timeout\":\"5\"}", "a number of seconds"},
        {"{\"cmd\":\"a\",\"timeout\":NaN}", "valid JSON"},
        {"{\"cmd\":\"a\",\"timeout\":1e999}", "a number of seconds"},
        {"{\"cmd\":\"a\",\"env\":[]}", "'env' must be an object"},
        {"{\"cmd\":\"a\",\"env\":{\"\":\"1\"}}", "empty"},
        {"{\"cmd\":\"a\",\"env\":{\"a=b\":\"1\"}}", "'a=b'"},
        {"{\"cmd\":\"a\",\"env\":{\"X\":null}}", "'X'"},
        {"{\"cmd\":\"a\",\"env\":{\"X\":{}}}", "'X'"},
        {"{\"cmd\":\"a\",\"env\":{\"X\":\"a\\u0000\"}}", "'X'"},
        {"{\"cmd\":\"a\",\"cwd\":5}", "'cwd' must be a string"},
        {"{\"cmd\":\"a\",\"cwd\":\"\"}", "'cwd' is empty"},
        {"{\"cmd\":\"a\",\"cwd\":\"a\\u0000\"}", "'cwd' holds"},
        {"{\"cmd\":\"a\",\"stdin\":5}", "'stdin' must be"},
        {"{\"cmd\":\"a\",\"stdin\":\"a\",\"stdin_base64\":\"\"}", "exclude"},
        {"{\"cmd\":\"a\",\"stdin_base64\":\"A\"}", "base64"},
        {"{\"cmd\":\"a\",\"stdin_base64\":\"AB==\"}", "base64"},
        {"{\"cmd\":\"a\",\"stdin_base64\":\"A===\"}", "base64"},
        {"{\"cmd\":\"a\",\"stdin_base64\":\"AA=A\"}", "base64"},
        {"{\"cmd\":\"a\",\"end\":\"later\"}", "'end' must be"},
        {"{\"cmd\":\"a\",\"tag\":5}", "'tag' must be"},
        {"{\"cmd\":\"a\",\"stream_limit\":0}", "'stream_limit'"},
        {"{\"cmd\":\"a\",\"background\":\"yes\"}", "'background' must be"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct command c;
        struct command_error e;
        CHECK(!parse(cases[i][0], &c, &e));
        if (strstr(e.text, cases[i][1]) == NULL) {
            printf("%s: \"%s\" lacks \"%s\"\n", cases[i][0], e.text, cases[i][1]);
            check_failures++;
        }
    }
}

CHECK_MAIN(test_good, test_environment, test_bad)
