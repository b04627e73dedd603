#include "client/hardware.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "client/client.h"
#include "client/jobs.h"
#include "client/json.h"
#include "client/op.h"
#include "client/provider.h"
#include "util/clock.h"
#include "util/text.h"

#define ROWS_MAX 1000

struct sbx_hardware_list {
    size_t count;
    sbx_hardware *rows; /* their texts are owned */
};

static bool take(const char **out, const struct json *value, const char *name) {
    const char *text = json_string(value, name);
    return text_copy(out, text != NULL ? text : "");
}

/* {"type": "gpu", "model": "T4", "quantity": "1", "vram": "16 GB"}; numbers may be numbers or texts. */
static bool accelerator(const char **out, const struct json *value) {
    if (!json_is_object(value)) return true;
    const char *model = json_string(value, "model"), *vram = json_string(value, "vram");
    const char *count = json_string(value, "quantity");
    char number[24], text[160];
    snprintf(number, sizeof number, "%lld", (long long)json_int(value, "quantity", 1));
    snprintf(text, sizeof text, "%.10s x %.60s%s%.40s", count != NULL ? count : number,
             model != NULL ? model : "?", vram != NULL ? ", " : "", vram != NULL ? vram : "");
    return text_copy(out, text);
}

static int64_t per_minute(const struct json *item) {
    int64_t micro = json_int(item, "unitCostMicroUSD", -1);
    const char *unit = json_string(item, "unitLabel");
    if (micro < 0) return -1;
    if (unit == NULL || strncasecmp(unit, "min", 3) == 0) return micro;
    if (strncasecmp(unit, "sec", 3) == 0) return micro * 60;
    if (strncasecmp(unit, "hour", 4) == 0) return (micro + 59) / 60;
    return -1;
}

sbx_hardware_list *hardware_parse(const char *text, size_t len) {
    struct json *value = json_parse(text, len);
    size_t count = json_is_array(value) ? json_count(value) : ROWS_MAX + 1;
    sbx_hardware_list *list = count <= ROWS_MAX ? calloc(1, sizeof *list) : NULL;
    if (list != NULL) list->rows = calloc(count + 1, sizeof *list->rows);
    bool ok = list != NULL && list->rows != NULL;
    for (const struct json *item = ok ? json_first(value) : NULL; ok && item != NULL;
         item = json_next(item)) {
        if (json_string(item, "name") == NULL) continue;
        sbx_hardware *row = &list->rows[list->count++];
        row->micro_usd_per_minute = per_minute(item);
        ok = take(&row->flavor, item, "name") && take(&row->title, item, "prettyName") &&
             take(&row->cpu, item, "cpu") && take(&row->memory, item, "ram") &&
             take(&row->disk, item, "ephemeralStorage") &&
             accelerator(&row->accelerator, json_get(item, "accelerator"));
    }
    json_free(value);
    if (ok) return list;
    sbx_hardware_list_free(list);
    return NULL;
}

int64_t hardware_cost(const sbx_hardware_list *list, const char *flavor) {
    for (size_t i = 0; list != NULL && i < list->count; i++) {
        if (strcmp(list->rows[i].flavor, flavor) == 0) return list->rows[i].micro_usd_per_minute;
    }
    return -1;
}

int64_t hardware_price(const char *text, size_t len, const char *flavor) {
    sbx_hardware_list *list = hardware_parse(text, len);
    int64_t price = hardware_cost(list, flavor);
    sbx_hardware_list_free(list);
    return price;
}

size_t sbx_hardware_list_count(const sbx_hardware_list *list) {
    return list != NULL ? list->count : 0;
}

const sbx_hardware *sbx_hardware_list_get(const sbx_hardware_list *list, size_t index) {
    return list != NULL && index < list->count ? &list->rows[index] : NULL;
}

void sbx_hardware_list_free(sbx_hardware_list *list) {
    if (list == NULL) return;
    for (size_t i = 0; list->rows != NULL && i < list->count; i++) {
        const sbx_hardware *row = &list->rows[i];
        const char *texts[] = {row->flavor, row->title, row->cpu, row->memory, row->disk, row->accelerator};
        for (size_t k = 0; k < sizeof texts / sizeof *texts; k++)
            free((void *)(uintptr_t)texts[k]);
    }
    free(list->rows);
    free(list);
}

/* ---- The call */

static void asked(void *ctx, const struct hub_reply *reply) {
    struct op *op = ctx;
    op->ctx = NULL;
    if (reply->status != SBX_OK) {
        op_fail(op, &reply->error);
        return;
    }
    op->out.hardware = hardware_parse(reply->body->data, reply->body->len);
    if (op->out.hardware != NULL) {
        op_done(op, SBX_OK);
    } else {
        op_failf(op, SBX_ERROR_PROTOCOL, "%s: the Hub's answer is no list of hardware", op->name);
    }
}

sbx_status sbx_hardware_list_all(sbx_hardware_list **out, sbx_client *client, const sbx_call *call,
                                 sbx_error *err) {
    const char *name = "sbx_hardware_list_all";
    if (out != NULL) *out = NULL;
    sbx_status status = client_check(client, name, err);
    if (status != SBX_OK) return status;
    if (client->provider != &provider_jobs)
        return error_set(err, SBX_ERROR_UNSUPPORTED,
                         "%s: provider %s has no hardware to choose: use provider jobs", name,
                         client->provider->name);
    status = op_check_out(out, call, name, err);
    if (status != SBX_OK) return status;
    struct op *op;
    status = op_begin(&op, client, NULL, name, call, 60000, err);
    if (status != SBX_OK) return status;
    jobs_ask(op, "jobs/hardware", "asking for the hardware", asked);
    sbx_completion done;
    status = op_finish(op, &done, err);
    if (status == SBX_OK) *out = done.hardware;
    return status;
}
