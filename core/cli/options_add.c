#include "options_add.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "print.h"
#include "values.h"

static char *copy(const char *text, size_t len) {
    char *out = print_allocate(len + 1);
    memcpy(out, text, len);
    return out;
}

/* Takes the item over. */
static bool append(struct options_list *list, char *item) {
    char **grown = realloc(list->items, (list->count + 2) * sizeof *grown);
    if (!grown) {
        free(item);
        print_error("out of memory");
        return false;
    }
    list->items = grown;
    list->items[list->count++] = item;
    list->items[list->count] = NULL;
    return true;
}

bool options_add_text(struct options_list *list, const char *text) {
    return append(list, copy(text, strlen(text)));
}

bool options_add_pair(struct options_list *list, const char *option, const char *value) {
    size_t name = strcspn(value, "=");
    if (!name) {
        /* Not what was given: the value may be a secret. */
        print_error(*value ? "--%s: the name is missing before the '='; write NAME=VALUE"
                           : "--%s: the name is missing; write NAME=VALUE, or NAME to copy it from here",
                    option);
        return false;
    }
    if (value[name]) return options_add_text(list, value);
    const char *here = getenv(value);
    if (!here) {
        print_error("--%s %s: there is no such variable here to copy; write %s=VALUE", option, value, value);
        return false;
    }
    char *entry = print_allocate(name + strlen(here) + 2);
    memcpy(entry, value, name);
    entry[name] = '=';
    memcpy(entry + name + 1, here, strlen(here));
    return append(list, entry);
}

void options_add_free(struct options_list *list) {
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
}

bool options_add_port(struct options *o, const char *value) {
    uint64_t port;
    if (!values_number(&port, value) || port < 1 || port > 65535) {
        print_error("--expose '%s': it takes the number of a TCP port, 1 to 65535", value);
        return false;
    }
    uint16_t *grown = realloc(o->ports, (o->port_count + 1) * sizeof *grown);
    if (!grown) {
        print_error("out of memory");
        return false;
    }
    o->ports = grown;
    o->ports[o->port_count++] = (uint16_t)port;
    return true;
}

bool options_add_bind(struct options *o, const char *name, const char *value, bool writable) {
    size_t len = strcspn(value, ":");
    const char *target = value[len] ? value + len + 1 : NULL;
    char *given = copy(value, len);
    char *source = len ? realpath(given, NULL) : NULL;
    if (!source) {
        print_error("--%s %s: %s: %s", name, value, given, len ? strerror(errno) : "the source is missing");
        free(given);
        return false;
    }
    if (target && *target != '/') {
        print_error("--%s %s: the place inside the sandbox is %s; it must be an absolute path", name, value,
                    target);
        free(given);
        free(source);
        return false;
    }
    if (target && strchr(target, ':')) {
        print_error("--%s %s: the place inside the sandbox, %s, has a ':'; --bind shows it read-only and "
                    "--bind-rw writable, "
                    "without a suffix",
                    name, value, target);
        free(given);
        free(source);
        return false;
    }
    /* A link's own path is what its commands will look for, not what it points to. */
    if (!target) target = *given == '/' ? given : source;
    size_t target_len = strlen(target);
    while (target_len > 1 && target[target_len - 1] == '/')
        target_len--;
    sbx_bind *grown = realloc(o->binds, (o->bind_count + 1) * sizeof *grown);
    if (!grown) {
        print_error("out of memory");
        free(given);
        free(source);
        return false;
    }
    o->binds = grown;
    o->binds[o->bind_count++] = (sbx_bind){source, copy(target, target_len), writable};
    free(given);
    return true;
}
