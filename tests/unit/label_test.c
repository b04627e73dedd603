// links: client
#include "check.h"

#include "client/label.h"

static void checks(void) {
    char label[400];
    sbx_error err;
    CHECK_EQ(label_check("team=a-B_9", &err), SBX_OK);
    CHECK_EQ(label_check("-=_", &err), SBX_OK);
    CHECK_EQ(label_check("hf=sandbox", &err), SBX_OK);
    CHECK_EQ(label_check("name=hf-sandbox", &err), SBX_OK);
    static const char *const bad[] = {"",
                                      "key",
                                      "=",
                                      "=value",
                                      "key=",
                                      "a=b=c",
                                      "a.b=c",
                                      "a=b.c",
                                      "a b=c",
                                      "a=b\n",
                                      "a= b",
                                      "\xc3\xa9=a",
                                      "a=\xc3\xa9",
                                      "a/b=c",
                                      "hf-sandbox=1",
                                      "hf-sandbox-mode=pool",
                                      "hf-sandboxes=1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        memset(&err, 0, sizeof err);
        CHECK_EQ(label_check(bad[i], &err), SBX_ERROR_INVALID);
        CHECK_EQ(label_check(bad[i], NULL), SBX_ERROR_INVALID);
        if (strchr(bad[i], '\n') == NULL) CHECK(strstr(err.message, bad[i]) != NULL);
    }
    for (int key = 99; key <= 101; key++) {
        for (int value = 99; value <= 101; value++) {
            memset(label, 'x', sizeof label);
            label[key] = '=';
            label[key + 1 + value] = '\0';
            CHECK_EQ(label_check(label, &err), key <= 100 && value <= 100 ? SBX_OK : SBX_ERROR_INVALID);
        }
    }
}

static void spaces(void) {
    const char *space = NULL;
    CHECK(label_image_is_space("hf.co/spaces/a/b", &space));
    CHECK_STR(space, "a/b");
    CHECK(label_image_is_space("https://hf.co/spaces/a/b", &space));
    CHECK_STR(space, "a/b");
    CHECK(label_image_is_space("huggingface.co/spaces/a/b:x", &space));
    CHECK_STR(space, "a/b:x");
    CHECK(label_image_is_space("https://huggingface.co/spaces/", &space));
    CHECK_STR(space, "");
    static const char *const no[] = {
        "",           "python:3.12",  "http://hf.co/spaces/a/b", "hf.co/a/b",
        "spaces/a/b", "hf.co/spaces", "x/hf.co/spaces/a/b",      "HF.co/spaces/a/b"};
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        CHECK(!label_image_is_space(no[i], &space));
}

/* Each as the Hub's own client names it. */
static void names(void) {
    static const struct {
        const char *image;
        const char *argv[4];
        const char *name;
    } cases[] = {
        {"python:3.12", {"python", "-c", "print('Hello')"}, "python-3-12-c09f03d5"},
        {"lhoestq/duckdb", {"duckdb"}, "duckdb-b53bb9e0"},
        {"hf.co/spaces/lhoestq/duckdb", {"duckdb"}, "lhoestq-duckdb-a24acb5f"},
        {"https://huggingface.co/spaces/a/b.c", {NULL}, "a-b-c-e356fdc2"},
        {"hf.co/spaces/", {"x"}, "hf-co-spaces--6fe3c637"},
        {"ghcr.io/pytorch/pytorch:2.6.0-cuda12.4//", {"a", "", "b"}, "pytorch-2-6-0-cuda12-4-4e098b0d"},
        {"/", {NULL}, "--8a5edab2"},
        {"r\xc3\xa9gis/t\xc3\xa9st:1", {"\xc3\xa9"}, "t-st-1-f16c4aed"},
        {"a@sha256:0", {"p"}, "a-sha256-0-dd398536"},
    };
    char name[128];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *space;
        label_name(name, cases[i].image, label_image_is_space(cases[i].image, &space), cases[i].argv);
        CHECK_STR(name, cases[i].name);
    }
}

static void long_names(void) {
    char image[201], name[128];
    const char *const argv[] = {"y", NULL};
    memset(image, 'x', 200);
    image[200] = '\0';
    label_name(name, image, false, argv);
    CHECK_EQ(strlen(name), 100);
    CHECK_STR(name + 91, "-e2075fe5");
    label_name(name, "a/b", true, NULL);
    CHECK(strncmp(name, "a-b-", 4) == 0);
    label_name(name, "", false, NULL);
    CHECK_STR(name, "-e3b0c442");
}

CHECK_MAIN(checks, spaces, names, long_names)
