#include "client/job.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/json.h"
#include "util/sha256.h"

static bool made_of(const char *text, size_t most, const char *extra) {
    size_t len = text != NULL ? strlen(text) : 0;
    if (len == 0 || len >= most) return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (!(c < 0x80 && isalnum(c)) && (c == '\0' || strchr(extra, c) == NULL)) return false;
    }
    return true;
}

bool job_name_ok(const char *name) {
    return made_of(name, JOB_NAME_SIZE, "-_.") && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

bool job_id_ok(const char *id) {
    return made_of(id, JOB_ID_SIZE, "-_");
}

static void take(char *into, size_t room, const char *text) {
    snprintf(into, room, "%s", text != NULL ? text : "");
}

static enum job_phase phase_of(const char *stage) {
    static const char *const ended[] = {"COMPLETED", "CANCELED", "CANCELLED", "ERROR", "DELETED"};
    for (size_t i = 0; i < sizeof ended / sizeof *ended; i++) {
        if (strcmp(stage, ended[i]) == 0) return JOB_ENDED;
    }
    if (strcmp(stage, "RUNNING") == 0 || strcmp(stage, "UPDATING") == 0) return JOB_RUNS;
    return JOB_WAITS; /* also what a later Hub may call its stages */
}

int64_t job_time(const char *text) {
    struct tm at = {0};
    int used = 0;
    if (text == NULL || sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &at.tm_year, &at.tm_mon, &at.tm_mday,
                               &at.tm_hour, &at.tm_min, &at.tm_sec, &used) != 6)
        return 0;
    at.tm_year -= 1900;
    at.tm_mon -= 1;
    time_t seconds = timegm(&at);
    if (seconds <= 0) return 0;
    int64_t ms = 0;
    if (text[used] == '.') {
        int64_t place = 100;
        for (const char *c = text + used + 1; isdigit((unsigned char)*c) && place > 0; c++, place /= 10)
            ms += (*c - '0') * place;
    }
    return (int64_t)seconds * 1000 + ms;
}

bool job_parse(struct job *out, const struct json *value) {
    *out = (struct job){0};
    const struct json *status = json_get(value, "status"), *labels = json_get(value, "labels");
    const char *id = json_string(value, "id"), *owner = json_string(json_get(value, "owner"), "name");
    const char *stage = json_string(status, "stage"), *image = json_string(value, "dockerImage");
    if (!job_id_ok(id) || stage == NULL || (owner != NULL && !job_name_ok(owner))) return false;
    take(out->id, sizeof out->id, id);
    take(out->owner, sizeof out->owner, owner);
    take(out->stage, sizeof out->stage, stage);
    out->phase = phase_of(out->stage);
    take(out->message, sizeof out->message, json_string(status, "message"));
    const char *mark = json_string(labels, JOB_LABEL), *mode = json_string(labels, JOB_LABEL_MODE);
    const char *nonce = json_string(labels, JOB_LABEL_NONCE);
    if (made_of(nonce, JOB_NONCE_SIZE, "")) take(out->nonce, sizeof out->nonce, nonce);
    take(out->key, sizeof out->key, json_string(labels, JOB_LABEL_KEY));
    take(out->pool_name, sizeof out->pool_name, json_string(labels, JOB_LABEL_POOL));
    const char *initiator = json_string(json_get(value, "initiator"), "name");
    take(out->initiator, sizeof out->initiator, initiator != NULL ? initiator : "");
    out->sandbox = mark != NULL && strcmp(mark, "1") == 0;
    out->pool = mode != NULL && strcmp(mode, "pool") == 0;
    if (image != NULL) {
        take(out->image, sizeof out->image, image);
    } else if (json_string(value, "spaceId") != NULL) {
        snprintf(out->image, sizeof out->image, "hf.co/spaces/%s", json_string(value, "spaceId"));
    }
    take(out->flavor, sizeof out->flavor, json_string(value, "flavor"));
    out->created_ms = job_time(json_string(value, "createdAt"));
    out->started_ms = job_time(json_string(value, "startedAt"));
    return true;
}

bool job_has_label(const struct json *value, const char *label) {
    const char *equals = strchr(label, '=');
    char name[LABEL_MAX + 1];
    if (equals == NULL || (size_t)(equals - label) >= sizeof name) return false;
    snprintf(name, sizeof name, "%.*s", (int)(equals - label), label);
    const char *found = json_string(json_get(value, "labels"), name);
    return found != NULL && strcmp(found, equals + 1) == 0;
}

/* The host of a URL, and how long it is; 0 = there is something odd in it. */
static size_t host_of(const char *url, const char **host) {
    size_t scheme = strncmp(url, "https://", 8) == 0 ? 8 : strncmp(url, "http://", 7) == 0 ? 7 : 0;
    if (scheme == 0 || strpbrk(url, "@?#\\%") != NULL || strstr(url, "/..") != NULL) return 0;
    for (const char *c = url; *c != '\0'; c++) {
        if (*c <= ' ' || *c >= 0x7f) return 0;
    }
    *host = url + scheme;
    size_t len = **host == '[' ? strcspn(*host, "]/") + 1 : strcspn(*host, ":/");
    if (**host == '[' && (*host)[len - 1] != ']') return 0;
    if ((*host)[len] != ':') return len;
    size_t digits = strspn(*host + len + 1, "0123456789");
    char behind = (*host)[len + 1 + digits];
    return digits > 0 && digits <= 5 && (behind == '\0' || behind == '/') ? len : 0;
}

/* The Hub's own jobs have names in one domain, at the usual port; elsewhere the name of the job is all that
 * is known. */
static bool domain_ok(const char *rest, size_t len, const char *hub, size_t hub_len) {
    static const char own[] = "huggingface.co", jobs[] = "hf.jobs";
    if (hub_len > 0 && hub[hub_len - 1] == '.') hub_len--;
    size_t name = sizeof own - 1, domain = sizeof jobs - 1;
    bool hubs = hub_len >= name && strncasecmp(hub + hub_len - name, own, name) == 0 &&
                (hub_len == name || hub[hub_len - name - 1] == '.');
    if (!hubs) return true;
    return len >= domain && strncmp(rest + len - domain, jobs, domain) == 0 && rest[len] != ':' &&
           (len == domain || rest[len - domain - 1] == '.');
}

static bool belongs(const char *url, const char *begin, const char *hub_url) {
    const char *host = NULL, *hub = NULL;
    size_t len = host_of(url, &host), hub_len = host_of(hub_url, &hub), name = strlen(begin);
    bool plain = strncmp(url, "http://", 7) == 0;
    if (len == 0 || hub_len == 0 || (plain && strncmp(hub_url, "http://", 7) != 0)) return false;
    if (len > name && strncmp(host, begin, name) == 0)
        return domain_ok(host + name, len - name, hub, hub_len);
    return plain && len == hub_len && strncasecmp(host, hub, len) == 0;
}

bool job_url_ok(const char *url, const char *id, unsigned port, const char *hub_url) {
    char begin[JOB_ID_SIZE + 16];
    snprintf(begin, sizeof begin, "%s--%u.", id, port);
    return strstr(url, begin) != NULL && belongs(url, begin, hub_url);
}

char *job_port_url(const struct json *value, const char *id, unsigned port, const char *hub_url,
                   bool *foreign) {
    char begin[JOB_ID_SIZE + 16], inside[JOB_ID_SIZE + 16];
    snprintf(begin, sizeof begin, "%s--%u.", id, port);
    snprintf(inside, sizeof inside, "--%u.", port);
    const struct json *urls = json_get(json_get(value, "status"), "exposeUrls");
    for (const struct json *item = json_first(urls); item != NULL; item = json_next(item)) {
        const char *url = json_text(item);
        if (url == NULL || strstr(url, inside) == NULL) continue;
        if (strstr(url, begin) == NULL || !belongs(url, begin, hub_url)) {
            *foreign = true;
            continue;
        }
        size_t len = strlen(url);
        while (len > 0 && url[len - 1] == '/')
            len--;
        return strndup(url, len);
    }
    return NULL;
}

void job_token(const char *hub_token, const char *nonce, char out[65]) {
    char message[sizeof "hf-sandbox:" + JOB_NONCE_SIZE];
    uint8_t digest[32];
    int len = snprintf(message, sizeof message, "hf-sandbox:%s", nonce);
    sha256_hmac(hub_token, strlen(hub_token), message, (size_t)len, digest);
    sha256_hex(digest, out);
    explicit_bzero(digest, sizeof digest);
}

sbx_status job_split_id(const char *text, char hub_namespace[JOB_NAME_SIZE], char id[JOB_ID_SIZE],
                        sbx_error *err) {
    const char *slash = strchr(text, '/');
    size_t before = slash != NULL ? (size_t)(slash - text) : 0;
    const char *rest = slash != NULL ? slash + 1 : text;
    snprintf(hub_namespace, JOB_NAME_SIZE, "%.*s", (int)before, text);
    bool ok = job_id_ok(rest) && (slash == NULL || (before < JOB_NAME_SIZE && job_name_ok(hub_namespace)));
    if (!ok)
        return error_set(err, SBX_ERROR_INVALID,
                         "'%.80s' is no id of a job: it is ID or NAMESPACE/ID, as sbx_sandbox_id gives it",
                         text);
    snprintf(id, JOB_ID_SIZE, "%s", rest);
    return SBX_OK;
}
