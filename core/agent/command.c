#include "agent/command.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "agent/escape.h"
#include "agent/json_in.h"
#include "util/buf.h"
#include "util/sort.h"
#include "util/text.h"
#include "wire/limits.h"

#define NAME_SHOWN   64                     /* bytes of a bad name that an error repeats */
#define TIMEOUT_MOST INT64_C(1000000000000) /* a timeout of more than 30 years is none */

/* One parse under way. */
struct parse {
    const struct json_doc *doc;
    struct command *out;
    struct command_error *error;
};

__attribute__((format(printf, 2, 3))) static bool refuse(struct parse *p, const char *format, ...) {
    va_list args;
    va_start(args, format);
    text_vformat(p->error->text, sizeof p->error->text, format, args);
    va_end(args);
    return false;
}

static bool no_memory(struct parse *p) {
    return refuse(p, "out of memory");
}

/* A field that is absent or null is not there. */
static bool present(struct parse *p, const char *name, json_at *at) {
    *at = json_in_get(p->doc, 0, name);
    return *at >= 0 && json_in_type(p->doc, *at) != JSON_NULL;
}

static bool take_bool(struct parse *p, const char *name, bool *out) {
    json_at at;
    if (!present(p, name, &at)) return true;
    return json_in_bool(p->doc, at, out) || refuse(p, "'%s' must be true or false", name);
}

static bool take_string(struct parse *p, const char *name, char **out) {
    json_at at;
    if (!present(p, name, &at)) return true;
    if (json_in_type(p->doc, at) != JSON_STRING) return refuse(p, "'%s' must be a string", name);
    *out = json_in_strdup(p->doc, at);
    return *out != NULL || refuse(p, "'%s' holds a NUL character or a broken escape", name);
}

/* argv as one block: the pointers, then the strings. */
static bool set_argv(struct parse *p, const struct buf *strings, size_t count) {
    char **argv = malloc((count + 1) * sizeof *argv + strings->len);
    if (argv == NULL) return no_memory(p);
    char *text = (char *)(argv + count + 1);
    memcpy(text, strings->data, strings->len);
    for (size_t i = 0; i < count; i++) {
        argv[i] = text;
        text += strlen(text) + 1;
    }
    argv[count] = NULL;
    p->out->argv = argv;
    return true;
}

static bool take_shell_text(struct parse *p, json_at at, struct buf *strings, struct buf *json) {
    buf_append(strings, "/bin/sh\0-c", 11);
    size_t start = strings->len;
    if (!json_in_string(p->doc, at, strings, false))
        return refuse(p, "'cmd' holds a NUL character or a broken escape");
    escape_string(json, strings->data + start, strings->len - start);
    buf_putc(strings, '\0');
    return (!strings->failed && !json->failed) || no_memory(p);
}

static bool take_items(struct parse *p, json_at array, struct buf *strings, struct buf *json, size_t *count) {
    buf_putc(json, '[');
    for (json_at at = json_in_first(p->doc, array); at >= 0; at = json_in_next(p->doc, at)) {
        if (json_in_type(p->doc, at) != JSON_STRING)
            return refuse(p, "item %zu of 'cmd' is not a string", *count);
        size_t start = strings->len;
        if (!json_in_string(p->doc, at, strings, false))
            return refuse(p, "item %zu of 'cmd' holds a NUL character or a broken escape", *count);
        if (*count > 0) buf_putc(json, ',');
        escape_string(json, strings->data + start, strings->len - start);
        buf_putc(strings, '\0');
        (*count)++;
    }
    buf_putc(json, ']');
    if (*count == 0) return refuse(p, "'cmd' is an empty array: name a program");
    return (!strings->failed && !json->failed) || no_memory(p);
}

static bool take_cmd(struct parse *p) {
    json_at at, shell_at;
    if (!present(p, "cmd", &at))
        return refuse(p, "'cmd' is missing: a string for /bin/sh -c, or an array of strings");
    enum json_type type = json_in_type(p->doc, at);
    if (type != JSON_STRING && type != JSON_ARRAY)
        return refuse(p, "'cmd' must be a string for /bin/sh -c, or an array of strings");
    bool shell = type == JSON_STRING;
    if (present(p, "shell", &shell_at) && !json_in_bool(p->doc, shell_at, &shell))
        return refuse(p, "'shell' must be true or false");
    if (shell && type != JSON_STRING) return refuse(p, "'shell' is true, so 'cmd' must be a string");
    if (!shell && type == JSON_STRING)
        return refuse(p, "'shell' is false, so 'cmd' must be an array of strings");

    struct buf strings = BUF_INIT(LIMIT_JSON_BODY + LIMIT_JSON_TOKENS), json = BUF_INIT(2 * LIMIT_JSON_BODY);
    size_t count = shell ? 3 : 0;
    bool ok = shell ? take_shell_text(p, at, &strings, &json) : take_items(p, at, &strings, &json, &count);
    if (ok) ok = set_argv(p, &strings, count);
    if (ok) {
        p->out->cmd_json = buf_take(&json);
        ok = p->out->cmd_json != NULL || no_memory(p);
    }
    buf_free(&strings);
    buf_free(&json);
    return ok;
}

static bool same_name(const char *a, const char *b) {
    size_t len = strcspn(a, "=");
    return strncmp(a, b, len) == 0 && b[len] == '=';
}

struct named {
    const char *text;
    size_t order;
};

static int by_name(const void *a, const void *b) {
    const struct named *x = a, *y = b;
    size_t len_x = strcspn(x->text, "="), len_y = strcspn(y->text, "=");
    int diff = memcmp(x->text, y->text, len_x < len_y ? len_x : len_y);
    if (diff != 0) return diff;
    if (len_x != len_y) return len_x < len_y ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

/* "NAME=value\0" for every entry of the request. */
static bool take_env_text(struct parse *p, json_at env, struct buf *text, size_t *count) {
    for (json_at at = json_in_first(p->doc, env); at >= 0; at = json_in_next(p->doc, at)) {
        size_t start = text->len;
        if (!json_in_string(p->doc, at, text, false))
            return refuse(p, "a name in 'env' holds a NUL character or a broken escape");
        if (text->len == start) return refuse(p, "a name in 'env' is empty");
        if (memchr(text->data + start, '=', text->len - start) != NULL)
            return refuse(p, "the name '%.*s' in 'env' holds a '='", NAME_SHOWN, text->data + start);
        buf_putc(text, '=');
        size_t name = text->len - 1 - start;
        if (!json_in_scalar(p->doc, json_in_value(p->doc, at), text))
            return refuse(
                p, "the value of '%.*s' in 'env' must be a string without NUL, a number, true or false",
                (int)(name < NAME_SHOWN ? name : NAME_SHOWN), text->data + start);
        if (!buf_putc(text, '\0')) return no_memory(p);
        (*count)++;
    }
    return true;
}

static bool merge_env(struct parse *p, char *const *base, size_t count) {
    size_t base_count = 0;
    while (base[base_count] != NULL)
        base_count++;
    struct named *names = calloc(count, sizeof *names);
    char **envp = calloc(base_count + count + 1, sizeof *envp);
    if (names == NULL || envp == NULL) {
        free(names);
        free(envp);
        return no_memory(p);
    }
    const char *text = p->out->env_text;
    for (size_t i = 0; i < count; i++, text += strlen(text) + 1)
        names[i] = (struct named){text, i};
    sort_items(names, count, sizeof *names, by_name);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) /* of equal names the last one given counts */
        if (i + 1 == count || !same_name(names[i].text, names[i + 1].text))
            envp[kept++] = (char *)(uintptr_t)names[i].text;
    size_t own = kept;
    for (size_t b = 0; b < base_count; b++) {
        bool replaced = false;
        for (size_t i = 0; i < own && !replaced; i++)
            replaced = same_name(envp[i], base[b]);
        if (!replaced) envp[kept++] = base[b];
    }
    free(names);
    p->out->envp = envp;
    return true;
}

static bool take_env(struct parse *p, char *const *base) {
    json_at at;
    size_t count = 0;
    struct buf text = BUF_INIT(LIMIT_JSON_BODY + LIMIT_JSON_TOKENS);
    if (present(p, "env", &at)) {
        bool ok = json_in_type(p->doc, at) == JSON_OBJECT
                      ? take_env_text(p, at, &text, &count)
                      : refuse(p, "'env' must be an object of names and values");
        if (!ok) {
            buf_free(&text);
            return false;
        }
    }
    if (count == 0) {
        buf_free(&text);
        p->out->envp = (char **)(uintptr_t)base;
    } else {
        p->out->env_text = buf_take(&text);
        if (p->out->env_text == NULL) return no_memory(p);
        if (!merge_env(p, base, count)) return false;
    }
    for (char **e = p->out->envp; *e != NULL; e++)
        if (strncmp(*e, "PATH=", 5) == 0) p->out->path_env = *e + 5;
    return true;
}

static bool take_cwd(struct parse *p, const char *base) {
    char *cwd = NULL;
    if (!take_string(p, "cwd", &cwd)) return false;
    if (cwd != NULL && cwd[0] == '\0') {
        free(cwd);
        return refuse(p, "'cwd' is empty");
    }
    if (cwd == NULL || cwd[0] == '/') {
        p->out->cwd = cwd != NULL ? cwd : strdup(base);
        return p->out->cwd != NULL || no_memory(p);
    }
    struct buf joined = BUF_INIT(LIMIT_JSON_BODY + LIMIT_PATH);
    buf_printf(&joined, "%s/%s", base, cwd);
    free(cwd);
    p->out->cwd = buf_take(&joined);
    return p->out->cwd != NULL || no_memory(p);
}

static bool take_timeout(struct parse *p) {
    json_at at;
    int64_t ms;
    p->out->timeout_ms = -1;
    if (!present(p, "timeout", &at)) return true;
    if (!json_in_milli(p->doc, at, &ms)) return refuse(p, "'timeout' must be a number of seconds");
    if (ms <= 0) return refuse(p, "'timeout' must be greater than 0; leave it out for none");
    if (ms <= TIMEOUT_MOST) p->out->timeout_ms = ms;
    return true;
}

static int base64_digit(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* In place; strict, with its padding. */
static bool base64_decode(char *text, size_t *len) {
    size_t in = strlen(text), out = 0;
    if (in % 4 != 0) return false;
    size_t digits = in;
    while (digits > 0 && in - digits < 2 && text[digits - 1] == '=')
        digits--;
    unsigned bits = 0;
    int have = 0;
    for (size_t i = 0; i < digits; i++) {
        int digit = base64_digit(text[i]);
        if (digit < 0) return false;
        bits = (bits << 6 | (unsigned)digit) & 0xFFFFFF;
        have += 6;
        if (have >= 8) {
            have -= 8;
            text[out++] = (char)(bits >> have & 0xFF);
        }
    }
    *len = out;
    return have < 6 && (bits & ((1u << have) - 1)) == 0;
}

static bool take_input(struct parse *p) {
    struct command *c = p->out;
    json_at at, base64_at;
    bool text = present(p, "stdin", &at), base64 = present(p, "stdin_base64", &base64_at);
    if (text && base64) return refuse(p, "'stdin' and 'stdin_base64' exclude each other");
    if (text) {
        struct buf bytes = BUF_INIT(LIMIT_JSON_BODY);
        bool ok = json_in_string(p->doc, at, &bytes, true);
        c->input_len = bytes.len;
        c->input = ok ? buf_take(&bytes) : NULL;
        buf_free(&bytes);
        if (c->input == NULL) return refuse(p, "'stdin' must be a string");
    }
    if (base64) {
        c->input = json_in_strdup(p->doc, base64_at);
        if (c->input == NULL || !base64_decode(c->input, &c->input_len))
            return refuse(p, "'stdin_base64' must be a string of padded base64");
    }
    c->has_input = text || base64;
    return take_bool(p, "stdin_open", &c->stdin_open);
}

static bool take_rest(struct parse *p) {
    struct command *c = p->out;
    json_at at;
    if (!take_bool(p, "background", &c->background) || !take_string(p, "tag", &c->tag)) return false;
    if (c->tag != NULL && strlen(c->tag) > LIMIT_TAG)
        return refuse(p, "'tag' is longer than %d bytes", LIMIT_TAG);
    if (present(p, "stream_limit", &at) &&
        (!json_in_u64(p->doc, at, &c->stream_limit) || c->stream_limit == 0))
        return refuse(p, "'stream_limit' must be a positive number of bytes");
    char *end = NULL;
    if (!take_string(p, "end", &end)) return false;
    bool ok = end == NULL || strcmp(end, "exit") == 0 || strcmp(end, "closed") == 0;
    c->until_closed = ok && end != NULL && end[0] == 'c';
    free(end);
    return ok || refuse(p, "'end' must be \"exit\" or \"closed\"");
}

bool command_parse(const char *body, size_t len, char *const *base_env, const char *base_cwd,
                   struct command *out, struct command_error *error) {
    const char *why;
    memset(out, 0, sizeof *out);
    struct json_doc *doc = json_in_parse(len > 0 ? body : "", len, &why);
    struct parse p = {.doc = doc, .out = out, .error = error};
    if (doc == NULL) return refuse(&p, "the body is not valid JSON: %s", why);
    bool ok = json_in_type(doc, 0) == JSON_OBJECT || refuse(&p, "the body must be a JSON object");
    ok = ok && take_cmd(&p) && take_env(&p, base_env) && take_cwd(&p, base_cwd) && take_timeout(&p) &&
         take_input(&p) && take_rest(&p);
    json_in_free(doc);
    if (!ok) command_free(out);
    return ok;
}

void command_started(struct command *c) {
    free(c->argv);
    if (c->env_text != NULL) free(c->envp); /* else it is the base environment itself */
    free(c->env_text);
    free(c->cwd);
    free(c->input);
    c->argv = c->envp = NULL;
    c->env_text = c->cwd = c->input = NULL;
    c->path_env = NULL;
}

void command_free(struct command *c) {
    command_started(c);
    free(c->cmd_json);
    free(c->tag);
    memset(c, 0, sizeof *c);
}
