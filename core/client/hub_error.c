#include "client/hub_error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "client/json.h"
#include "util/buf.h"
#include "util/text.h"

#define LINK_MAX   8192
#define PART_LEAST 8 /* of a secret that was cut off: fewer bytes may as well be something else */

void hub_hints_clear(struct hub_hints *hints) {
    free(hints->next);
    *hints = (struct hub_hints){.retry_ms = -1, .reset_ms = -1};
}

static bool is(const char *name, size_t len, const char *wanted) {
    return len == strlen(wanted) && strncasecmp(name, wanted, len) == 0;
}

static void copy(char *into, size_t room, const char *value, size_t len) {
    if (len >= room) len = room - 1;
    memcpy(into, value, len);
    into[len] = '\0';
}

static int64_t seconds(const char *text, size_t len) {
    uint64_t value;
    return text_u64(text, len, &value) && value < 86400 ? (int64_t)value * 1000 : -1;
}

static int64_t parameter(const char *value, size_t len, char name) {
    for (const char *at = value, *end = value + len; at + 3 < end; at++) {
        if (at[0] != ';' || at[1] != name || at[2] != '=') continue;
        size_t digits = 0;
        while (at + 3 + digits < end && at[3 + digits] >= '0' && at[3 + digits] <= '9')
            digits++;
        return seconds(at + 3, digits);
    }
    return -1;
}

/* ratelimit: "api";r=0;t=42. While something remains this is not the limit that was reached. */
static int64_t reset_of(const char *value, size_t len) {
    return parameter(value, len, 'r') > 0 ? -1 : parameter(value, len, 't');
}

/* Sun, 06 Nov 1994 08:49:37 GMT */
static int64_t date_of(const char *value, size_t len) {
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char text[32], month[4];
    struct tm at = {0};
    int used = 0;
    copy(text, sizeof text, value, len);
    int found = sscanf(text, "%*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT%n", &at.tm_mday, month,
                       &at.tm_year, &at.tm_hour, &at.tm_min, &at.tm_sec, &used);
    const char *name = found == 6 && strlen(month) == 3 ? strstr(months, month) : NULL;
    if (name == NULL || (name - months) % 3 != 0 || used == 0) return 0;
    at.tm_mon = (int)(name - months) / 3;
    at.tm_year -= 1900;
    time_t seconds = timegm(&at);
    return seconds > 0 ? (int64_t)seconds * 1000 : 0;
}

/* <url>; rel="next" */
static char *next_of(const char *url, const char *value, size_t len) {
    if (len > LINK_MAX) return NULL;
    char *text = strndup(value, len);
    char *start = text != NULL ? strchr(text, '<') : NULL;
    char *end = start != NULL ? strchr(start, '>') : NULL;
    char *target = NULL;
    if (end != NULL && strstr(end, "rel=\"next\"") != NULL) {
        *end = '\0';
        start++;
        size_t base = strlen(url);
        if (strncmp(start, url, base) == 0 && start[base] == '/') {
            target = strdup(start + base);
        } else if (start[0] == '/' && start[1] != '/') {
            target = strdup(start);
        }
    }
    free(text);
    return target;
}

void hub_hints_take(struct hub_hints *hints, const char *url, const char *name, size_t name_len,
                    const char *value, size_t len) {
    if (is(name, name_len, "Retry-After")) {
        hints->retry_ms = seconds(value, len);
    } else if (is(name, name_len, "ratelimit")) {
        hints->reset_ms = reset_of(value, len);
    } else if (is(name, name_len, "Date")) {
        hints->date_ms = date_of(value, len);
    } else if (is(name, name_len, "X-Error-Message")) {
        copy(hints->message, sizeof hints->message, value, len);
    } else if (is(name, name_len, "X-Request-Id") ||
               (hints->request_id[0] == '\0' &&
                (is(name, name_len, "X-Amzn-Trace-Id") || is(name, name_len, "X-Amz-Cf-Id")))) {
        copy(hints->request_id, sizeof hints->request_id, value, len);
    } else if (is(name, name_len, "Link") && hints->next == NULL) {
        hints->next = next_of(url, value, len);
    }
}

static void redact_one(char *text, const char *secret) {
    size_t len = strlen(secret), whole = strlen(text);
    if (len < 4) return;
    for (char *at = strstr(text, secret); at != NULL; at = strstr(at + len, secret))
        memset(at, '*', len);
    for (size_t part = len - 1 < whole ? len - 1 : whole; part >= PART_LEAST; part--) {
        if (memcmp(text + whole - part, secret, part) == 0) memset(text + whole - part, '*', part);
    }
}

void hub_error_redact(char *text, const char *const *secrets) {
    for (size_t i = 0; secrets[i] != NULL; i++)
        redact_one(text, secrets[i]);
}

struct saying {
    char text[300];
    const char *const *secrets;
};

static void append(struct saying *s, const char *more) {
    size_t len = strlen(s->text);
    if (more == NULL || *more == '\0' || len + 3 >= sizeof s->text) return;
    char *own = strdup(more);
    if (own == NULL) return;
    hub_error_redact(own, s->secrets);
    snprintf(s->text + len, sizeof s->text - len, "%s%s", len > 0 ? ", " : "", own);
    free(own);
}

/* {"error": text or [texts]}, perhaps with "error_description" or "message", or {"errors": [{"message"}]}; or
 * plain text. Pages for browsers are left out. */
static void take_body(struct saying *s, const char *body, size_t len) {
    struct json *value = len > 0 ? json_parse(body, len) : NULL;
    const struct json *error = json_get(value, "error");
    append(s, json_text(error));
    for (const struct json *item = json_is_array(error) ? json_first(error) : NULL; item != NULL;
         item = json_next(item))
        append(s, json_text(item));
    append(s, json_string(value, "error_description"));
    append(s, json_string(value, "message"));
    const struct json *errors = json_get(value, "errors");
    for (const struct json *item = json_first(errors); item != NULL; item = json_next(item))
        append(s, json_string(item, "message"));
    if (value == NULL && len > 0 && body[0] != '<') {
        char start[200];
        copy(start, sizeof start, body, len);
        append(s, start);
    }
    json_free(value);
}

static const char *remedy(int status) {
    switch (status) {
    case 401:
        return ": is the token valid? huggingface.co/settings/tokens shows it";
    case 403:
        return ": the token may not do that in this namespace; it needs the permission for Jobs there";
    case 402:
        return ": Jobs need a payment method or credits";
    case 429:
        return ": the rate limit is reached; try again later";
    default:
        return "";
    }
}

static sbx_status code_of(int status) {
    switch (status) {
    case 400:
    case 422:
        return SBX_ERROR_INVALID;
    case 401:
    case 403:
        return SBX_ERROR_AUTH;
    case 402:
        return SBX_ERROR_DENIED;
    case 404:
    case 410:
        return SBX_ERROR_NOT_FOUND;
    case 409:
        return SBX_ERROR_CONFLICT;
    case 413:
    case 431:
        return SBX_ERROR_TOO_LARGE;
    case 429:
    case 503:
        return SBX_ERROR_BUSY;
    default:
        return status >= 500 ? SBX_ERROR_CONNECTION : SBX_ERROR_PROTOCOL;
    }
}

static const char *lead(char out[128], const char *name) {
    out[0] = '\0';
    if (name != NULL) snprintf(out, 128, "%s: ", name);
    return out;
}

void hub_error_reply(sbx_error *error, const char *name, const char *what, int http_status,
                     struct hub_hints *hints, const char *body, size_t len, const char *const *secrets) {
    struct saying said = {.secrets = secrets};
    char begin[128], request[96] = "";
    take_body(&said, body != NULL ? body : "", body != NULL ? len : 0);
    hub_error_redact(hints->message, secrets);
    hub_error_redact(hints->request_id, secrets);
    if (strstr(said.text, hints->message) == NULL) append(&said, hints->message);
    if (hints->request_id[0] != '\0') snprintf(request, sizeof request, "; request %s", hints->request_id);
    lead(begin, name);
    if (http_status >= 300 && http_status < 400) {
        error_set(error, SBX_ERROR_PROTOCOL,
                  "%s%s: the Hub answered with a redirect (%d), which is never followed: give the address "
                  "that it leads to "
                  "as HF_ENDPOINT%s",
                  begin, what, http_status, request);
    } else {
        error_set(error, code_of(http_status), "%s%s: the Hub answered %d%s%s%s%s", begin, what, http_status,
                  said.text[0] != '\0' ? " " : "", said.text, remedy(http_status), request);
    }
    error->http_status = http_status;
}

void hub_error_lost(sbx_error *error, const char *name, const char *what, const sbx_error *cause) {
    char begin[128];
    error_set(error, cause->code, "%s%s: %s", lead(begin, name), what, cause->message);
    error->system_errno = cause->system_errno;
}
