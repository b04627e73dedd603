#include "cmd.h"

#include <string.h>
#include <time.h>

#include "exits.h"
#include "json_read.h"
#include "print.h"

#define CENTURY_MS ((int64_t)100 * 365 * 24 * 3600 * 1000)

static void print_sandboxes(const sbx_sandbox_list *list) {
    struct print_table *table =
        print_table_new(5, (const char *const[]){"ID", "PROVIDER", "STATE", "CREATED", "PID"}, "llllr");
    for (size_t i = 0; i < sbx_sandbox_list_count(list); i++) {
        const sbx_sandbox_info_row *row = sbx_sandbox_list_get(list, i);
        char created[32];
        time_t at = (time_t)(row->created_at_ms / 1000);
        struct tm local;
        localtime_r(&at, &local);
        strftime(created, sizeof created, "%Y-%m-%d %H:%M:%S", &local);
        print_table_cell(table, "%s", row->id);
        print_table_cell(table, "%s", row->provider);
        print_table_cell(table, "%s", !row->running ? "ended" : row->damaged ? "damaged" : "running");
        print_table_cell(table, "%s", created);
        print_table_cell(table, "%lld", (long long)row->pid);
    }
    print_table_end(table);
}

static void print_sandboxes_json(const sbx_sandbox_list *list) {
    struct print_json json = {0};
    print_json_begin(&json, '[');
    for (size_t i = 0; i < sbx_sandbox_list_count(list); i++) {
        const sbx_sandbox_info_row *row = sbx_sandbox_list_get(list, i);
        print_json_begin(&json, '{');
        print_json_member_text(&json, "id", row->id);
        print_json_member_text(&json, "provider", row->provider);
        print_json_member_number(&json, "created_at_ms", row->created_at_ms);
        print_json_member_number(&json, "pid", row->pid);
        print_json_member_bool(&json, "detached", row->detached);
        print_json_member_bool(&json, "running", row->running);
        print_json_member_bool(&json, "damaged", row->damaged);
        print_json_end(&json, '}');
    }
    print_json_end(&json, ']');
    putchar('\n');
}

int cmd_sandboxes_list(struct session *s, const struct options *o) {
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_call(s, 0, &call);
    if (session_wait(s, sbx_sandbox_list_all(NULL, s->client, NULL, &call, &err), &call, &done, &err) !=
        SBX_OK)
        return session_failed(&err);
    (o->json ? print_sandboxes_json : print_sandboxes)(done.sandboxes);
    session_release(&done);
    return print_end();
}

/* Without an option only what ended sandboxes left is removed: nobody loses a running one by a bare "reap".
 */
int cmd_sandboxes_reap(struct session *s, const struct options *o) {
    if (o->all && o->older_than_given) {
        print_error("give --all or --older-than, not both");
        return EXITS_FAILED;
    }
    sbx_filter filter = {SBX_FILTER_INIT, .min_age_ms = o->all                ? 0
                                                        : o->older_than_given ? o->older_than_ms
                                                                              : CENTURY_MS};
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_call(s, 0, &call);
    if (session_wait(s, sbx_reap(NULL, s->client, &filter, &call, &err), &call, &done, &err) < 0)
        return session_failed(&err);
    printf(o->json ? "{\"reaped\":%llu}\n" : "%llu ended or cleaned up\n", (unsigned long long)done.number);
    return print_end();
}

/* ---- info */

static void print_value(const struct json_value *value, int depth);

static void print_scalar(const struct json_value *value) {
    static const char *const words[] = {[JSON_NULL] = "none", [JSON_FALSE] = "no", [JSON_TRUE] = "yes"};
    if (value->text) {
        print_text(stdout, value->text, value->len);
    } else {
        fputs(words[value->type], stdout);
    }
}

static void print_scalars(const struct json_value *array) {
    for (const struct json_value *item = array->first; item; item = item->next) {
        if (item != array->first) fputs(", ", stdout);
        if (item->type < JSON_ARRAY) print_scalar(item);
    }
    putchar('\n');
}

/* Objects of one kind below each other, for example the isolation steps: the first one's members give the
 * columns. */
static void print_rows(const struct json_value *array) {
    const char *heads[16];
    size_t columns = 0;
    for (const struct json_value *member = array->first->first; member && columns < 16;
         member = member->next) {
        heads[columns++] = member->name;
    }
    if (!columns) return;
    struct print_table *table = print_table_new(columns, heads, "llllllllllllllll");
    for (const struct json_value *row = array->first; row; row = row->next) {
        for (size_t i = 0; i < columns; i++) {
            const struct json_value *value = json_read_member(row, heads[i]);
            bool truth = value && value->type == JSON_TRUE, falsehood = value && value->type == JSON_FALSE;
            print_table_cell(table, "%s",
                             truth                  ? "yes"
                             : falsehood            ? "no"
                             : value && value->text ? value->text
                                                    : "");
        }
    }
    print_table_end(table);
}

static void print_limits(const struct json_value *limits, int depth) {
    for (const struct json_value *limit = limits->first; limit; limit = limit->next) {
        bool none = limit->text && strcmp(limit->text, "0") == 0;
        printf("%*s", 2 * depth, "");
        print_text(stdout, limit->name, strlen(limit->name));
        fputs(": ", stdout);
        if (none) {
            fputs("no limit", stdout);
        } else if (limit->type < JSON_ARRAY) {
            print_scalar(limit);
        }
        putchar('\n');
    }
}

static void print_member(const struct json_value *member, int depth) {
    bool object = member->type == JSON_OBJECT,
         rows = member->type == JSON_ARRAY && member->first && member->first->type == JSON_OBJECT;
    printf("%*s", 2 * depth, "");
    print_text(stdout, member->name, strlen(member->name));
    fputs(object || rows ? ":\n" : ": ", stdout);
    if (object && strcmp(member->name, "limits") == 0) {
        print_limits(member, depth + 1);
    } else if (object) {
        print_value(member, depth + 1);
    } else if (rows) {
        print_rows(member);
    } else if (member->type == JSON_ARRAY) {
        print_scalars(member);
    } else {
        print_scalar(member);
        putchar('\n');
    }
}

static void print_value(const struct json_value *value, int depth) {
    for (const struct json_value *member = value->first; member; member = member->next)
        print_member(member, depth);
}

int cmd_sandboxes_info(struct session *s, const struct options *o) {
    sbx_sandbox *sandbox = session_connect(s, o->operands[0]);
    if (!sandbox) return EXITS_FAILED;
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_call(s, 0, &call);
    int code;
    if (session_wait(s, sbx_sandbox_info(NULL, sandbox, &call, &err), &call, &done, &err) != SBX_OK) {
        code = session_failed(&err);
    } else {
        const char *text = sbx_bytes_data(done.bytes);
        size_t len = sbx_bytes_size(done.bytes);
        struct json_value *info = json_read(text, len);
        if (!info || info->type != JSON_OBJECT) {
            print_error("%s gave an answer that makes no sense", o->operands[0]);
            code = EXITS_FAILED;
        } else {
            if (o->json) {
                fwrite(text, 1, len, stdout);
                putchar('\n');
            } else {
                print_value(info, 0);
            }
            code = print_end();
        }
        json_read_free(info);
        session_release(&done);
    }
    sbx_sandbox_free(sandbox);
    return code;
}
