// links: client
#include "check.h"

#include "client/job.h"
#include "client/json.h"

#define ID    "68f0c1d2e3a4b5c6d7e8f901"
#define OTHER "68f0c1d2e3a4b5c6d7e8f902"
#define HUB   "https://huggingface.co"
#define OWN   "https://" ID "--49983.hf.jobs"

/* Which of the job's addresses gets the tokens. */
static char *taken(const char *hub, const char *urls, bool *foreign) {
    char text[2048];
    snprintf(text, sizeof text, "{\"status\":{\"stage\":\"RUNNING\",\"exposeUrls\":[%s]}}", urls);
    struct json *value = json_parse(text, strlen(text));
    *foreign = false;
    CHECK(value != NULL);
    char *url = job_port_url(value, ID, 49983, hub, foreign);
    json_free(value);
    return url;
}

static void takes(const char *hub, const char *urls, const char *expected) {
    bool foreign;
    char *url = taken(hub, urls, &foreign);
    CHECK_STR(url, expected);
    free(url);
}

static void takes_none(const char *hub, const char *urls) {
    bool foreign;
    char *url = taken(hub, urls, &foreign);
    if (url != NULL) printf("of %s, %s\n", hub, urls);
    CHECK(url == NULL);
    free(url);
}

static void own_addresses(void) {
    takes(HUB, "\"" OWN "\"", OWN);
    takes(HUB, "\"" OWN "///\"", OWN);
    takes(HUB, "\"https://" ID "--8000.hf.jobs\",\"" OWN "\"", OWN);
    takes(HUB, "17,null,\"" OWN "\"", OWN);
    takes("https://HuggingFace.co", "\"" OWN "\"", OWN);
    /* Another Hub, which knows its jobs' domain itself. */
    takes("https://hub.example", "\"https://" ID "--49983.jobs.example:8443/x\"",
          "https://" ID "--49983.jobs.example:8443/x");
    /* Where the Hub itself is reached by plain HTTP: its own host, or a name of the job's. */
    takes("http://127.0.0.1:4000", "\"http://127.0.0.1:4001/p/" ID "--49983.hf.jobs\"",
          "http://127.0.0.1:4001/p/" ID "--49983.hf.jobs");
    takes("http://localhost:4000", "\"http://" ID "--49983.localhost:4001\"",
          "http://" ID "--49983.localhost:4001");
}

static void foreign_addresses(void) {
    static const char *const urls[] = {
        "https://" OTHER "--49983.hf.jobs",                /* of another job */
        "https://" ID "0--49983.hf.jobs",                  /* likewise */
        "https://x" ID "--49983.hf.jobs",                  /* likewise */
        "https://" ID "--49983.example.com",               /* another domain */
        "https://" ID "--49983.hf.jobs.example.com",       /* likewise */
        "https://" ID "--49983.evilhf.jobs",               /* likewise */
        "https://" ID "--49983.HF.JOBS",                   /* the Hub does not write it so */
        "https://" ID "--49983.hf.jobs.",                  /* nor so */
        "https://68F0C1D2E3A4B5C6D7E8F901--49983.hf.jobs", /* nor so */
        "HTTPS://" ID "--49983.hf.jobs",                   /* nor so */
        "https://" ID "--49983.hf.jobs:8443",              /* another port */
        "https://" ID "--49983.hf.jobs:443@example.com",   /* a user and a password */
        "https://" ID "--49983.hf.jobs@example.com",       /* likewise */
        "https://" ID "--49983.@example.com/",             /* likewise */
        "https://example.com/" ID "--49983.hf.jobs",       /* a path */
        "https://example.com/?" ID "--49983.hf.jobs",      /* a query */
        "https://example.com/#" ID "--49983.hf.jobs",      /* a fragment */
        "https://example.com\\\\" ID "--49983.hf.jobs",    /* a slash to some */
        "https://example.com:80" ID "--49983.hf.jobs",     /* a port that is none */
        "https://" ID "--49983.hf.jobs:",                  /* likewise */
        "https://" ID "--49983.hf.jobs:x",                 /* likewise */
        "https://" ID "--49983.hf.jobs:443x.example.com",  /* likewise */
        "https://" ID "--49983.hf.jobs/../x",              /* a path that leads elsewhere */
        "https://" ID "--49983.hf.jobs/..",                /* likewise */
        "https://" ID "--49983.hf.jobs/%2e%2e/x",          /* likewise */
        "https://" ID "--49983.hf\\uff0ejobs",             /* a dot to some */
        "https://" ID "--49983.hf.jobs\\uff0fexample.com", /* a slash to some */
        "https://" ID "--49983.h\\u0192.jobs",             /* a letter that looks like another */
        "https://" ID "--49983.hf.jobs\\r\\nX: y",         /* another header */
        "https://" ID "--49983.hf.jobs \\t",               /* white space */
        "https://" ID "--49983.hf.jobs\\u0001",            /* a control character */
        " https://" ID "--49983.hf.jobs",                  /* white space */
        "https:/" ID "--49983.hf.jobs",                    /* no authority */
        "https:///" ID "--49983.hf.jobs",                  /* likewise */
        "//" ID "--49983.hf.jobs",                         /* no scheme */
        "ftp://" ID "--49983.hf.jobs",                     /* another scheme */
        "file:///" ID "--49983.hf.jobs",                   /* likewise */
        "http://" ID "--49983.hf.jobs",                    /* clear text */
        "https://" ID "--49984.hf.jobs",                   /* another port of the job */
        "https://" ID "--49983hf.jobs",                    /* no domain */
        "https://" ID "-49983.hf.jobs",                    /* another form */
    };
    static const char *const hubs[] = {HUB, HUB ":443", "https://HUGGINGFACE.CO", "https://huggingface.co."};
    char quoted[512];
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        snprintf(quoted, sizeof quoted, "\"%s\"", urls[i]);
        for (size_t k = 0; k < sizeof hubs / sizeof *hubs; k++)
            takes_none(hubs[k], quoted);
        /* It does not keep the job's own one from being taken. */
        snprintf(quoted, sizeof quoted, "\"%s\",\"" OWN "\"", urls[i]);
        takes(HUB, quoted, OWN);
    }
    bool foreign;
    CHECK(taken(HUB, "\"https://" OTHER "--49983.hf.jobs\"", &foreign) == NULL && foreign);
    CHECK(taken(HUB, "\"https://" ID "--8000.hf.jobs\"", &foreign) == NULL && !foreign);
    CHECK(taken(HUB, "", &foreign) == NULL && !foreign);
}

static void plain_hubs(void) {
    static const char hub[] = "http://127.0.0.1:4000";
    takes_none(hub, "\"http://127.0.0.2:4001/p/" ID "--49983.hf.jobs\"");
    takes_none(hub, "\"http://127.0.0.10/p/" ID "--49983.hf.jobs\"");
    takes_none(hub, "\"http://127.0.0.1.example.com/p/" ID "--49983.hf.jobs\"");
    takes_none(hub, "\"http://127.0.0.1:4001@example.com/p/" ID "--49983.hf.jobs\"");
    takes_none(hub, "\"http://127.0.0.1:4001/p/../" ID "--49983.hf.jobs\"");
    takes_none(hub, "\"http://127.0.0.1:4001/p/" ID "--49983.hf.jobs/..\"");
    takes_none(hub, "\"http://127.0.0.1:4001/p/" OTHER "--49983.hf.jobs\"");
    takes_none(hub, "\"http://127.0.0.1:400100/p/" ID "--49983.hf.jobs\"");
    takes_none("https://127.0.0.1", "\"http://127.0.0.1/p/" ID "--49983.hf.jobs\"");
}

static void ids(void) {
    static const char *const bad[] = {"",           "/",
                                      "/" ID,       "alice/",
                                      "a/b/" ID,    ID "/" ID "/",
                                      "../" ID,     "alice/../" ID,
                                      ID "\n",      ID "\r\nX: y",
                                      "al ice/" ID, "alice/" ID " ",
                                      "\x01",       "alice\r\n/" ID,
                                      ID "?x",      ID "#",
                                      ID "%2f",     "al\xc3\xa9/" ID,
                                      ID "\x7f",    "alice/..",
                                      ".."};
    char name[JOB_NAME_SIZE], id[JOB_ID_SIZE], long_one[300];
    sbx_error err;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sbx_status status = job_split_id(bad[i], name, id, &err);
        if (status != SBX_ERROR_INVALID) printf("%s\n", bad[i]);
        CHECK_EQ(status, SBX_ERROR_INVALID);
    }
    memset(long_one, 'a', sizeof long_one - 1);
    long_one[sizeof long_one - 1] = '\0';
    CHECK_EQ(job_split_id(long_one, name, id, &err), SBX_ERROR_INVALID);
    CHECK_EQ(job_split_id(ID, name, id, &err), SBX_OK);
    CHECK_STR(id, ID);
    CHECK_STR(name, "");
    CHECK_EQ(job_split_id("alice/" ID, name, id, &err), SBX_OK);
    CHECK_STR(name, "alice");
}

/* PROTOCOL 4, Token: the vectors. */
static void tokens(void) {
    char token[65];
    job_token("hf_ExampleToken0123456789", "00112233445566778899aabbccddeeff", token);
    CHECK_STR(token, "28d5418635aabbfdc4650a9f4367154e9e3210ddf9aa12b3ac7d936b3dce54d6");
    job_token("hf_test", "3812d065533f34534beac79e0a4ad47c", token);
    CHECK_STR(token, "8571e6a3a66832c2faf2c2655abf9f0e816bb4db007c3213ea12cca41a627da0");
    job_token("hf_t\xc3\xa9st", "ffffffffffffffffffffffffffffffff", token);
    CHECK_STR(token, "a2096e16778294b6b6b4b9307129132b83a4269138db5fe56c73628131049d39");
}

CHECK_MAIN(own_addresses, foreign_addresses, plain_hubs, ids, tokens)
