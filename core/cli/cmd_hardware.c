#include "cmd.h"

#include "print.h"

static void print_hardware(const sbx_hardware_list *list) {
    static const char *const heads[] = {"FLAVOR",      "CPU",      "MEMORY", "DISK",
                                        "ACCELERATOR", "$/MINUTE", "$/HOUR"};
    struct print_table *table = print_table_new(7, heads, "lrrrlrr");
    for (size_t i = 0; i < sbx_hardware_list_count(list); i++) {
        const sbx_hardware *row = sbx_hardware_list_get(list, i);
        double price = (double)row->micro_usd_per_minute / 1e6;
        print_table_cell(table, "%s", row->flavor);
        print_table_cell(table, "%s", row->cpu);
        print_table_cell(table, "%s", row->memory);
        print_table_cell(table, "%s", row->disk);
        print_table_cell(table, "%s", row->accelerator ? row->accelerator : "");
        if (row->micro_usd_per_minute < 0) {
            print_table_cell(table, "?");
            print_table_cell(table, "?");
        } else {
            print_table_cell(table, "%.6f", price);
            print_table_cell(table, "%.2f", price * 60);
        }
    }
    print_table_end(table);
}

static void print_hardware_json(const sbx_hardware_list *list) {
    struct print_json json = {0};
    print_json_begin(&json, '[');
    for (size_t i = 0; i < sbx_hardware_list_count(list); i++) {
        const sbx_hardware *row = sbx_hardware_list_get(list, i);
        print_json_begin(&json, '{');
        print_json_member_text(&json, "flavor", row->flavor);
        print_json_member_text(&json, "title", row->title);
        print_json_member_text(&json, "cpu", row->cpu);
        print_json_member_text(&json, "memory", row->memory);
        print_json_member_text(&json, "disk", row->disk);
        print_json_member_text(&json, "accelerator", row->accelerator);
        print_json_member_code(&json, "micro_usd_per_minute", row->micro_usd_per_minute >= 0,
                               row->micro_usd_per_minute);
        print_json_end(&json, '}');
    }
    print_json_end(&json, ']');
    putchar('\n');
}

int cmd_hardware(struct session *s, const struct options *o) {
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_call(s, 0, &call);
    if (session_wait(s, sbx_hardware_list_all(NULL, s->client, &call, &err), &call, &done, &err) != SBX_OK)
        return session_failed(&err);
    (o->json ? print_hardware_json : print_hardware)(done.hardware);
    session_release(&done);
    return print_end();
}
