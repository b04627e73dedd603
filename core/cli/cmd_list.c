#include "cmd.h"

#include <string.h>

#include "exits.h"
#include "listing.h"
#include "print.h"

#define CENTURY_MS ((int64_t)100 * 365 * 24 * 3600 * 1000)

/* Sandboxes of pools have a column for that where there are any; what they cost is their hosts' cost. */
static void print_jobs(const struct listing *list) {
    static const char *const heads[] = {"ID",      "STAGE",         "IMAGE", "FLAVOR",
                                        "CREATED", "RUNNING SINCE", "COST",  "POOL"};
    struct print_table *table = print_table_new(list->pooled ? 8 : 7, heads, "llllllrl");
    for (size_t i = 0; i < list->count; i++) {
        const sbx_sandbox_info_row *row = list->rows[i];
        print_table_cell(table, "%s", row->id);
        print_table_cell(table, "%s", row->stage);
        print_table_cell(table, "%s", row->image);
        print_table_cell(table, "%s", row->flavor);
        print_table_time(table, row->created_at_ms);
        print_table_time(table, row->started_at_ms);
        if (row->pool) {
            print_table_cell(table, "%s", "");
        } else if (row->cost_micro_usd < 0) {
            print_table_cell(table, "?");
        } else {
            print_table_cell(table, "$%.4f", (double)row->cost_micro_usd / 1e6);
        }
        if (list->pooled) print_table_cell(table, "%s", row->pool ? row->pool : "");
    }
    print_table_end(table);
}

static void print_local(const struct listing *list) {
    static const char *const heads[] = {"ID", "PROVIDER", "STATE", "CREATED", "PID", "POOL"};
    struct print_table *table = print_table_new(list->pooled ? 6 : 5, heads, "llllrl");
    for (size_t i = 0; i < list->count; i++) {
        const sbx_sandbox_info_row *row = list->rows[i];
        print_table_cell(table, "%s", row->id);
        print_table_cell(table, "%s", row->provider);
        print_table_cell(table, "%s", !row->running ? "ended" : row->damaged ? "damaged" : "running");
        print_table_time(table, row->created_at_ms);
        print_table_cell(table, "%lld", (long long)row->pid);
        if (list->pooled) print_table_cell(table, "%s", row->pool ? row->pool : "");
    }
    print_table_end(table);
}

static void print_json(const struct listing *list) {
    struct print_json json = {0};
    print_json_begin(&json, '[');
    for (size_t i = 0; i < list->count; i++) {
        const sbx_sandbox_info_row *row = list->rows[i];
        print_json_begin(&json, '{');
        print_json_member_text(&json, "id", row->id);
        print_json_member_text(&json, "provider", row->provider);
        print_json_member_number(&json, "created_at_ms", row->created_at_ms);
        print_json_member_number(&json, "pid", row->pid);
        print_json_member_bool(&json, "detached", row->detached);
        print_json_member_bool(&json, "running", row->running);
        print_json_member_bool(&json, "damaged", row->damaged);
        print_json_member_text(&json, "hub_namespace", row->hub_namespace);
        print_json_member_text(&json, "stage", row->stage);
        print_json_member_text(&json, "image", row->image);
        print_json_member_text(&json, "flavor", row->flavor);
        print_json_member_code(&json, "started_at_ms", row->started_at_ms > 0, row->started_at_ms);
        print_json_member_code(&json, "cost_micro_usd", row->stage && row->cost_micro_usd >= 0,
                               row->cost_micro_usd);
        print_json_member_text(&json, "pool", row->pool);
        print_json_end(&json, '}');
    }
    print_json_end(&json, ']');
    putchar('\n');
}

static sbx_filter filter(const struct options *o) {
    return (sbx_filter){SBX_FILTER_INIT, .labels = (const char *const *)o->labels.items,
                        .hub_namespace = o->hub_namespace};
}

int cmd_sandboxes_list(struct session *s, const struct options *o) {
    struct listing list;
    sbx_filter which = filter(o);
    if (!listing_open(&list, s, &which)) return EXITS_FAILED;
    bool jobs = strcmp(options_provider(o->provider), "jobs") == 0;
    (o->json ? print_json : jobs ? print_jobs : print_local)(&list);
    listing_close(&list);
    return print_end();
}

/* Without an option only what ended sandboxes left is removed: nobody loses a running one by a bare "reap".
 */
int cmd_sandboxes_reap(struct session *s, const struct options *o) {
    if (o->all && o->older_than_given) {
        print_error("give --all or --older-than, not both");
        return EXITS_FAILED;
    }
    if (o->labels.count && !o->all && !o->older_than_given) {
        print_error(
            "--label chooses among the running ones: say with --all or --older-than that they shall end");
        return EXITS_FAILED;
    }
    sbx_filter which = filter(o);
    which.min_age_ms = o->all ? 0 : o->older_than_given ? o->older_than_ms : CENTURY_MS;
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_call(s, 0, &call);
    if (session_wait(s, sbx_reap(NULL, s->client, &which, &call, &err), &call, &done, &err) < 0)
        return session_failed(&err);
    printf(o->json ? "{\"reaped\":%llu}\n" : "%llu ended or cleaned up\n", (unsigned long long)done.number);
    return print_end();
}
