#include "client/log.h"

#include <stdarg.h>
#include <stdatomic.h>

#include "client/client.h"

#define FIELDS_MAX 8

static atomic_bool silent;

void log_silence(void) {
    atomic_store(&silent, true);
}

void log_event(struct sbx_client *client, sbx_log_level level, const char *event, ...) {
    if (client->log == NULL || level < client->log_level || atomic_load(&silent)) return;
    sbx_log_field fields[FIELDS_MAX];
    size_t count = 0;
    va_list args;
    va_start(args, event);
    for (const char *name = va_arg(args, const char *); name != NULL && count < FIELDS_MAX;
         name = va_arg(args, const char *)) {
        fields[count].name = name;
        fields[count].value = va_arg(args, const char *);
        count++;
    }
    va_end(args);
    client->log(client->log_user, level, event, fields, count);
}
