#include "cmd.h"

#include <string.h>

#include "exits.h"
#include "json_read.h"
#include "print.h"

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
                print_json_whole(text, len);
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
