#include "cmd.h"

#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "exits.h"
#include "json_read.h"
#include "pools.h"
#include "print.h"
#include "progress.h"

/* ---- Making */

static void print_name(const struct options *o, const sbx_pool *pool) {
    if (o->json) {
        struct print_json json = {0};
        print_json_begin(&json, '{');
        print_json_member_text(&json, "name", sbx_pool_name(pool));
        print_json_member_text(&json, "hub_namespace", o->hub_namespace);
        print_json_end(&json, '}');
        putchar('\n');
    } else {
        printf("%s%s%s\n", o->hub_namespace ? o->hub_namespace : "", o->hub_namespace ? "/" : "",
               sbx_pool_name(pool));
    }
}

/* One that nobody was told the name of ends again; a name that was given is known. */
int cmd_pool_create(struct session *s, const struct options *o) {
    sbx_error err;
    sbx_completion done;
    sbx_pool_options options = {SBX_POOL_OPTIONS_INIT,
                                .name = o->name,
                                .sandboxes_per_host = (unsigned)o->per_host,
                                .max_hosts = (unsigned)o->max_hosts,
                                .warm = (int)o->warm,
                                .detached = 1,
                                .idle_timeout_ms = o->idle_timeout_ms,
                                .start_timeout_ms = pools_start_ms(s, o),
                                .image = o->image,
                                .flavor = o->flavor,
                                .hub_namespace = o->hub_namespace};
    if (o->max_hosts && o->warm > o->max_hosts) {
        print_error("--warm %llu is more than --max-hosts %llu: raise that one, or lower this",
                    (unsigned long long)o->warm, (unsigned long long)o->max_hosts);
        return EXITS_FAILED;
    }
    sbx_call call = session_call(s, o->start_timeout_ms, &call);
    if (!s->verbose) progress_begin(NULL);
    sbx_status status =
        session_wait(s, sbx_pool_create(NULL, s->client, &options, &call, &err), &call, &done, &err);
    progress_end();
    if (status != SBX_OK) return session_failed(&err);
    sbx_pool *pool = done.pool;
    print_name(o, pool);
    int code = print_end();
    if (code && !o->name) {
        sbx_call last = session_last_call(s, 0, &last);
        session_wait(s, sbx_pool_delete(NULL, pool, &last, &err), &last, &done, &err);
    }
    sbx_pool_free(pool);
    return code;
}

/* ---- Listing */

/* A name as other commands take it: with its namespace where that was asked for. */
static void print_rows(const struct options *o, const sbx_pool_list *list) {
    static const char *const heads[] = {"NAME", "IMAGE", "FLAVOR", "HOSTS", "PER HOST", "CREATED"};
    struct print_table *table = print_table_new(6, heads, "lllrrl");
    for (size_t i = 0; i < sbx_pool_list_count(list); i++) {
        const sbx_pool_row *row = sbx_pool_list_get(list, i);
        print_table_cell(table, "%s%s%s", o->hub_namespace ? o->hub_namespace : "",
                         o->hub_namespace ? "/" : "", row->name);
        print_table_cell(table, "%s", row->image ? row->image : "");
        print_table_cell(table, "%s", row->flavor ? row->flavor : "");
        print_table_cell(table, "%llu", (unsigned long long)row->hosts);
        if (row->sandboxes_per_host) {
            print_table_cell(table, "%llu", (unsigned long long)row->sandboxes_per_host);
        } else {
            print_table_cell(table, "?");
        }
        print_table_time(table, row->created_at_ms);
    }
    print_table_end(table);
}

static void print_rows_json(const sbx_pool_list *list) {
    struct print_json json = {0};
    print_json_begin(&json, '[');
    for (size_t i = 0; i < sbx_pool_list_count(list); i++) {
        const sbx_pool_row *row = sbx_pool_list_get(list, i);
        print_json_begin(&json, '{');
        print_json_member_text(&json, "name", row->name);
        print_json_member_text(&json, "provider", row->provider);
        print_json_member_text(&json, "hub_namespace", row->hub_namespace);
        print_json_member_text(&json, "image", row->image);
        print_json_member_text(&json, "flavor", row->flavor);
        print_json_member_number(&json, "hosts", (int64_t)row->hosts);
        print_json_member_code(&json, "sandboxes_per_host", row->sandboxes_per_host > 0,
                               (int64_t)row->sandboxes_per_host);
        print_json_member_code(&json, "created_at_ms", row->created_at_ms > 0, row->created_at_ms);
        print_json_end(&json, '}');
    }
    print_json_end(&json, ']');
    putchar('\n');
}

int cmd_pool_list(struct session *s, const struct options *o) {
    sbx_error err;
    sbx_completion done;
    sbx_call call = session_call(s, 0, &call);
    if (session_wait(s, sbx_pool_list_all(NULL, s->client, o->hub_namespace, &call, &err), &call, &done,
                     &err) != SBX_OK)
        return session_failed(&err);
    if (o->json) {
        print_rows_json(done.pools);
    } else {
        print_rows(o, done.pools);
    }
    session_release(&done);
    return print_end();
}

/* ---- Showing */

static const char *text_of(const struct json_value *object, const char *name) {
    const struct json_value *value = json_read_member(object, name);
    return value ? value->text : NULL;
}

static long long number_of(const struct json_value *object, const char *name) {
    const char *text = text_of(object, name);
    return text ? strtoll(text, NULL, 10) : -1;
}

static void print_age(struct print_table *table, long long ms) {
    long long s = ms / 1000;
    if (s < 0) {
        print_table_cell(table, "?");
    } else if (s < 60) {
        print_table_cell(table, "%lld s", s);
    } else if (s < 3600) {
        print_table_cell(table, "%lld min", s / 60);
    } else {
        print_table_cell(table, "%lld h %lld min", s / 3600, s / 60 % 60);
    }
}

static void print_hosts(const struct json_value *hosts) {
    static const char *const heads[] = {"HOST", "STAGE", "SANDBOXES", "ISOLATION", "AGE"};
    struct print_table *table = print_table_new(5, heads, "llrlr");
    for (const struct json_value *host = hosts->first; host; host = host->next) {
        const char *id = text_of(host, "id"), *stage = text_of(host, "stage"),
                   *isolation = text_of(host, "isolation");
        long long sandboxes = number_of(host, "sandboxes"), capacity = number_of(host, "capacity");
        print_table_cell(table, "%s", id ? id : "?");
        print_table_cell(table, "%s", stage ? stage : "?");
        if (sandboxes < 0) {
            print_table_cell(table, "? of %lld", capacity);
        } else {
            print_table_cell(table, "%lld of %lld", sandboxes, capacity);
        }
        print_table_cell(table, "%s", isolation ? isolation : "?");
        print_age(table, number_of(host, "age_ms"));
    }
    print_table_end(table);
}

static void print_info(const struct json_value *info) {
    static const char *const names[] = {"name", "provider", "namespace", "image", "flavor"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *text = text_of(info, names[i]);
        if (!text) continue;
        printf("%s: ", names[i]);
        print_text(stdout, text, strlen(text));
        putchar('\n');
    }
    long long most = number_of(info, "max_hosts");
    printf("sandboxes: %lld\nsandboxes per host: %lld\n", number_of(info, "sandboxes"),
           number_of(info, "sandboxes_per_host"));
    if (most > 0) {
        printf("most hosts: %lld\n", most);
    } else {
        puts("most hosts: no limit");
    }
    const struct json_value *hosts = json_read_member(info, "hosts");
    if (hosts && hosts->first) print_hosts(hosts);
}

/* What the pool is now; NULL: said why. *text is the completion's, and whole. */
static struct json_value *ask_info(struct session *s, sbx_pool *pool, sbx_completion *done) {
    sbx_error err;
    sbx_call call = session_call(s, 0, &call);
    if (session_wait(s, sbx_pool_info(NULL, pool, &call, &err), &call, done, &err) != SBX_OK) {
        session_failed(&err);
        return NULL;
    }
    struct json_value *info = json_read(sbx_bytes_data(done->bytes), sbx_bytes_size(done->bytes));
    if (info && info->type == JSON_OBJECT) return info;
    json_read_free(info);
    print_error("pool '%s' gave an answer that makes no sense", sbx_pool_name(pool));
    session_release(done);
    return NULL;
}

int cmd_pool_info(struct session *s, const struct options *o) {
    sbx_completion done;
    int code = EXITS_FAILED;
    sbx_pool *pool = pools_connect(s, o, o->operands[0]);
    struct json_value *info = pool ? ask_info(s, pool, &done) : NULL;
    if (info) {
        if (o->json) {
            print_json_whole(sbx_bytes_data(done.bytes), sbx_bytes_size(done.bytes));
        } else {
            print_info(info);
        }
        code = print_end();
        json_read_free(info);
        session_release(&done);
    }
    sbx_pool_free(pool);
    return code;
}

/* ---- Ending */

/* Whether it may end: it has no sandboxes, or somebody says yes to theirs. */
static bool may_end(struct session *s, const char *text, sbx_pool *pool) {
    sbx_completion done;
    struct json_value *info = ask_info(s, pool, &done);
    if (!info) return false;
    long long sandboxes = number_of(info, "sandboxes");
    const struct json_value *hosts = json_read_member(info, "hosts");
    size_t silent = 0;
    for (const struct json_value *host = hosts ? hosts->first : NULL; host; host = host->next) {
        const char *stage = text_of(host, "stage");
        silent += number_of(host, "sandboxes") < 0 && stage && strcmp(stage, "RUNNING") == 0;
    }
    json_read_free(info);
    session_release(&done);
    if (sandboxes <= 0 && !silent) return true;
    char what[128];
    if (silent) {
        snprintf(what, sizeof what, "at least %lld sandbox%s, and %zu host%s not say",
                 sandboxes < 0 ? 0 : sandboxes, sandboxes == 1 ? "" : "es", silent,
                 silent == 1 ? " does" : "s do");
    } else {
        snprintf(what, sizeof what, "%lld sandbox%s", sandboxes, sandboxes == 1 ? "" : "es");
    }
    if (!ask_possible()) {
        print_error("pool '%s' has %s: -y (--yes) ends them too; without it that takes a terminal to ask at",
                    text, what);
        return false;
    }
    print_question("pool '%s' has %s: end all?", text, what);
    if (ask_answer()) return true;
    print_error("nothing was ended");
    return false;
}

int cmd_pool_delete(struct session *s, const struct options *o) {
    const char *text = o->operands[0];
    struct pools_name name;
    sbx_error err;
    sbx_completion done;
    if (!pools_parse(&name, o, text)) return EXITS_FAILED;
    bool jobs = strcmp(options_provider(s->provider), "jobs") == 0;
    sbx_pool *pool =
        o->yes && jobs ? pools_handle(s, name.hub_namespace, name.name) : pools_connect(s, o, text);
    if (!pool) return EXITS_FAILED;
    int code = EXITS_FAILED;
    if (o->yes || may_end(s, text, pool)) {
        sbx_call call = session_call(s, 0, &call);
        if (session_wait(s, sbx_pool_delete(NULL, pool, &call, &err), &call, &done, &err) < 0) {
            session_failed(&err);
        } else if (jobs && o->yes && done.number == 0) {
            print_error(
                "there is no pool '%s' with a host of yours: hfsandbox pool list shows those there are",
                text);
        } else {
            if (o->json) {
                struct print_json json = {0};
                print_json_begin(&json, '{');
                print_json_member_text(&json, "name", sbx_pool_name(pool));
                print_json_member_number(&json, jobs ? "hosts_ended" : "sandboxes_ended",
                                         (int64_t)done.number);
                print_json_end(&json, '}');
                putchar('\n');
            }
            code = print_end();
        }
    }
    sbx_pool_free(pool);
    return code;
}
