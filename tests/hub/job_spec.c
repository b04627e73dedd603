#include "job.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SPEC_MAX (16U << 20)

static bool read_exactly(int fd, void *to, size_t len) {
    for (size_t done = 0; done < len;) {
        ssize_t n = read(fd, (char *)to + done, len - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}

/* Not a byte more than its length says: commands may already stand behind it. */
static bool read_text(struct job_spec *spec, int fd) {
    uint32_t len;
    if (!read_exactly(fd, &len, sizeof len) || len < 2 || len > SPEC_MAX) return false;
    spec->text = malloc(len);
    return spec->text != NULL && read_exactly(fd, spec->text, len) && spec->text[len - 1] == '\0' &&
           spec->text[len - 2] == '\0';
}

char *job_spec_field(char **rest) {
    char *field = *rest;
    char *end = strchr(field, '\t');
    if (end == NULL) {
        *rest = field + strlen(field);
        return field;
    }
    *end = '\0';
    *rest = end + 1;
    return field;
}

static bool keep(char **list, size_t *count, char *text) {
    if (*count >= JOB_STRINGS - 1) return false;
    list[(*count)++] = text;
    list[*count] = NULL;
    return true;
}

/* The key alone decides; arg and env keep every byte of what follows. */
static bool take(struct job_spec *spec, char *line) {
    char *value = strchr(line, '\t');
    size_t key_len = value == NULL ? strlen(line) : (size_t)(value - line);
    value = value == NULL ? line + key_len : value + 1;
#define KEY(name) (key_len == sizeof name - 1 && memcmp(line, name, sizeof name - 1) == 0)
    if (KEY("arg")) return keep(spec->argv, &spec->argc, value);
    if (KEY("env")) return keep(spec->env, &spec->envc, value);
    if (KEY("root"))
        spec->root = value;
    else if (KEY("hostname"))
        spec->hostname = value;
    else if (KEY("workdir"))
        spec->workdir = value;
    else if (KEY("map"))
        spec->base = (unsigned)strtoul(value, NULL, 10);
    else if (KEY("privileged"))
        spec->privileged = true;
    else if (KEY("listen")) {
        if (spec->listen_count == JOB_LISTENS) return false;
        spec->listens[spec->listen_count++] = value;
    } else
        return keep(spec->steps, &spec->step_count, line);
#undef KEY
    return true;
}

bool job_spec_read(struct job_spec *spec, int fd, const char **error) {
    *error = "the specification did not come whole";
    if (!read_text(spec, fd)) return false;
    *error = "the specification has too many strings";
    for (char *line = spec->text; *line != '\0'; line += strlen(line) + 1)
        if (!take(spec, line)) return false;
    *error = "the specification lacks a root, a range of uids or a command";
    return spec->root != NULL && spec->base != 0 && spec->argc > 0;
}
