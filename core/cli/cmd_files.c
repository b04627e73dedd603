#include "cmd.h"

#include <string.h>
#include <time.h>

#include "exits.h"
#include "print.h"
#include "remote.h"

static const char *type_name(sbx_file_type type) {
    return type == SBX_FILE_DIRECTORY ? "directory" : type == SBX_FILE_SYMLINK ? "symlink" : "regular";
}

static void print_mode(char out[11], const sbx_file_info *file) {
    static const char letters[] = "rwxrwxrwx";
    out[0] = file->type == SBX_FILE_DIRECTORY ? 'd' : file->type == SBX_FILE_SYMLINK ? 'l' : '-';
    for (unsigned i = 0; i < 9; i++)
        out[i + 1] = file->mode >> (8 - i) & 1 ? letters[i] : '-';
    if (file->mode & 04000) out[3] = out[3] == 'x' ? 's' : 'S';
    if (file->mode & 02000) out[6] = out[6] == 'x' ? 's' : 'S';
    if (file->mode & 01000) out[9] = out[9] == 'x' ? 't' : 'T';
    out[10] = 0;
}

static void table_row(struct print_table *table, const sbx_file_info *file, const char *name) {
    char mode[11], changed[32];
    time_t at = (time_t)(file->mtime_ms / 1000);
    struct tm local;
    localtime_r(&at, &local);
    strftime(changed, sizeof changed, "%Y-%m-%d %H:%M:%S", &local);
    print_mode(mode, file);
    print_table_cell(table, "%s", mode);
    print_table_cell(table, "%llu", (unsigned long long)file->size);
    print_table_cell(table, "%s", changed);
    print_table_cell(table, "%s%s", name, file->type == SBX_FILE_DIRECTORY ? "/" : "");
}

static void json_row(struct print_json *json, const sbx_file_info *file, const char *name) {
    print_json_begin(json, '{');
    print_json_member_text(json, "name", name);
    print_json_member_text(json, "type", type_name(file->type));
    print_json_member_number(json, "size", (int64_t)file->size);
    print_json_member_number(json, "mtime_ms", file->mtime_ms);
    print_json_member_number(json, "mode", (int64_t)file->mode);
    print_json_end(json, '}');
}

/* The entries of a directory, or one file under the name it was asked by. */
static void print_files(const struct options *o, const sbx_file_list *list, const sbx_file_info *only,
                        const char *name) {
    struct print_json json = {0};
    size_t count = only ? 1 : sbx_file_list_count(list);
    struct print_table *table = NULL;
    if (o->json) {
        print_json_begin(&json, '[');
    } else {
        table = print_table_new(4, (const char *const[]){"MODE", "SIZE", "CHANGED", "NAME"}, "lrll");
    }
    for (size_t i = 0; i < count; i++) {
        const sbx_file_info *file = only ? only : sbx_file_list_get(list, i);
        if (o->json) {
            json_row(&json, file, only ? name : file->name);
        } else {
            table_row(table, file, only ? name : file->name);
        }
    }
    if (o->json) {
        print_json_end(&json, ']');
        putchar('\n');
    } else {
        print_table_end(table);
    }
}

int cmd_files_list(struct session *s, const struct options *o) {
    struct remote place;
    if (!remote_parse(&place, o->operands[0])) {
        const char *id = strchr(o->operands[0], '/') ? "ID" : o->operands[0];
        print_error(
            "'%s' is not written ID:path: behind the id of a sandbox a colon is needed, as in %s: or %s:/tmp",
            o->operands[0], id, id);
        return EXITS_FAILED;
    }
    int code = EXITS_FAILED;
    sbx_sandbox *sandbox = session_connect(s, place.id);
    if (sandbox) {
        sbx_error err;
        sbx_completion done;
        sbx_call call = session_call(s, 0, &call);
        sbx_status status =
            session_wait(s, sbx_file_list_all(NULL, sandbox, place.path, &call, &err), &call, &done, &err);
        if (status == SBX_OK) {
            print_files(o, done.files, NULL, NULL);
            code = print_end();
            session_release(&done);
        } else if (status == SBX_ERROR_NOT_DIRECTORY) {
            status =
                session_wait(s, sbx_file_stat(NULL, sandbox, place.path, &call, &err), &call, &done, &err);
            if (status == SBX_OK) {
                print_files(o, NULL, done.file, place.path);
                code = print_end();
                session_release(&done);
            }
        }
        if (status != SBX_OK) code = session_failed(&err);
        sbx_sandbox_free(sandbox);
    }
    remote_free(&place);
    return code;
}
