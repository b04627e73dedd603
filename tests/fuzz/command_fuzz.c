// links: agent/command.c agent/json_in.c agent/escape.c
/* Bodies of exec and processes: what is taken is a whole command, what is refused says why and leaves
 * nothing. */
#include "agent/command.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/limits.h"

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) abort();                                                                           \
    } while (0)

static char *base[] = {"A=1", "PATH=/bin", NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct command c = {.argv = NULL};
    struct command_error e = {.text = ""};
    if (!command_parse((const char *)data, size, base, "/home", &c, &e)) {
        MUST(e.text[0] != '\0' && memchr(e.text, '\0', sizeof e.text) != NULL);
        return 0;
    }
    MUST(c.argv != NULL && c.argv[0] != NULL && c.cwd != NULL && c.cwd[0] == '/' && c.cmd_json != NULL);
    MUST(c.timeout_ms >= -1 && (c.has_input || c.input_len == 0));
    for (size_t i = 0; c.envp[i] != NULL; i++)
        MUST(strchr(c.envp[i], '=') != NULL);
    command_started(&c);
    command_free(&c);
    return 0;
}
