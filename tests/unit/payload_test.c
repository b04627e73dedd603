// links: client
/* The payload as the library carries it. With arguments it prints a part for the tests of the whole:
 * payload_test --text. */
#include "check.h"

#include <sys/utsname.h>

#include "client/job_start.h"
#include "client/payload.h"

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";

static void table(void) {
    size_t rows = 0;
    for (const struct payload *p = payload_table; p->arch != NULL; p++, rows++) {
        CHECK(payload_find(p->arch, p->host) == p);
        CHECK_EQ(strlen(p->text), p->length);
        CHECK_EQ(strspn(p->text, base64), p->length);
        CHECK_EQ(p->length % 4, 0);
        CHECK_EQ(strlen(p->sha256), 64);
        CHECK_EQ(strspn(p->sha256, "0123456789abcdef"), 64);
        CHECK(p->program_size > 0);
    }
    CHECK(rows > 0);
    CHECK(strlen(job_start_script) < 3000);
    CHECK(strstr(job_start_script, "\n#") == NULL && strstr(job_start_script, "\n ") == NULL);
    CHECK(payload_find("sparc", false) == NULL);
}

static const struct payload *native(void) {
    struct utsname machine;
    return uname(&machine) == 0 ? payload_find(machine.machine, false) : NULL;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        table();
        CHECK(native() != NULL);
        return check_failures > 0;
    }
    const struct payload *p = native();
    if (p == NULL) return 1;
    if (strcmp(argv[1], "--text") == 0) fputs(p->text, stdout);
    if (strcmp(argv[1], "--sha256") == 0) fputs(p->sha256, stdout);
    if (strcmp(argv[1], "--arch") == 0) fputs(p->arch, stdout);
    if (strcmp(argv[1], "--script") == 0) fputs(job_start_script, stdout);
    if (strcmp(argv[1], "--size") == 0) printf("%zu", p->program_size);
    return 0;
}
