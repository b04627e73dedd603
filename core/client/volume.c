#include "client/volume.h"

#include <stdlib.h>
#include <string.h>

#include "client/error.h"
#include "client/json.h"
#include "util/text.h"

#define TEXT_MAX       4096
#define NAME_MAX_CHARS 96
#define NAME_CHARS     "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
#define FORM           "hf://[buckets/|datasets/|models/|spaces/]OWNER/NAME[@REVISION][/PATH]:/MOUNT[:ro|:rw]"

struct volume {
    const char *type;
    const char *id, *path, *mount; /* path NULL = all of it */
    char *revision;                /* NULL = none */
    int read_only;                 /* -1 = not said */
};

static const struct type {
    const char *plural, *singular;
    bool mounts;
} TYPES[] = {{"buckets", "bucket", true},
             {"models", "model", true},
             {"datasets", "dataset", true},
             {"spaces", "space", true},
             {"kernels", "kernel", false}};

static bool refuse(sbx_error *err, const char *text, const char *why) {
    error_set(err, SBX_ERROR_INVALID, "the volume '%.200s' cannot be: %s. Its form is " FORM, text, why);
    return false;
}

/* No empty part, no "." and "..". */
static bool parts_ok(const char *path) {
    for (;;) {
        size_t len = strcspn(path, "/");
        if (len == 0 || (len == 1 && path[0] == '.') || (len == 2 && memcmp(path, "..", 2) == 0))
            return false;
        if (path[len] == '\0') return true;
        path += len + 1;
    }
}

static bool name_ok(const char *name, size_t len) {
    return len >= 1 && len <= NAME_MAX_CHARS && strspn(name, NAME_CHARS) >= len && *name != '.' &&
           *name != '-' && name[len - 1] != '.' && name[len - 1] != '-';
}

static char *take_suffix(char *text, struct volume *v) {
    size_t len = strlen(text);
    v->read_only = -1;
    if (len >= 3 && (strcmp(text + len - 3, ":ro") == 0 || strcmp(text + len - 3, ":rw") == 0)) {
        v->read_only = text[len - 1] == 'o';
        text[len - 3] = '\0';
    }
    return text;
}

/* Cuts the mount off the end of the text. */
static bool take_mount(char *text, struct volume *v, const char *whole, sbx_error *err) {
    char *last = NULL;
    for (char *at = strstr(text, ":/"); at != NULL; at = strstr(at + 1, ":/"))
        last = at;
    if (last == NULL)
        return refuse(err, whole,
                      "the directory where it is to be mounted is missing; it is absolute and follows a ':'");
    *last = '\0';
    v->mount = last + 1;
    if (strchr(v->mount, ':') != NULL)
        return refuse(err, whole, "the mount's path has a ':' in it; only :ro or :rw may follow it");
    if (v->mount[1] == '\0')
        return refuse(err, whole, "nothing can be mounted at '/'; give a directory below it");
    if (!parts_ok(v->mount + 1))
        return refuse(err, whole, "the mount's path has an empty part, '.' or '..'; write it without");
    return true;
}

/* Returns behind the type. NULL: refused. */
static char *take_type(char *text, struct volume *v, const char *whole, sbx_error *err) {
    size_t len = strcspn(text, "/");
    v->type = "model";
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++) {
        bool plural = strlen(TYPES[i].plural) == len && strncmp(text, TYPES[i].plural, len) == 0;
        bool singular = strlen(TYPES[i].singular) == len && strncmp(text, TYPES[i].singular, len) == 0;
        if ((plural || singular) && !TYPES[i].mounts) {
            refuse(err, whole, "kernels cannot be mounted");
            return NULL;
        }
        /* An owner may have such a name, and the Hub's own client refuses it too. */
        if (singular) {
            char why[64];
            text_format(why, sizeof why, "a type is written in the plural, %s/", TYPES[i].plural);
            refuse(err, whole, why);
            return NULL;
        }
        if (!plural) continue;
        v->type = TYPES[i].singular;
        return text + len + (text[len] == '/');
    }
    return text;
}

static int hex_digit(char c) {
    const char *digits = "0123456789abcdef";
    const char *at = c != '\0' ? strchr(digits, c >= 'A' && c <= 'F' ? c + ('a' - 'A') : c) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

/* %XX in place; false when that makes a byte that no name has. */
static bool decode(char *text) {
    char *to = text;
    for (const char *at = text; *at != '\0'; at++) {
        int high = *at == '%' ? hex_digit(at[1]) : -1, low = high >= 0 ? hex_digit(at[2]) : -1;
        int byte = low >= 0 ? high << 4 | low : (unsigned char)*at;
        if (byte <= ' ' || byte == 0x7f) return false;
        *to++ = (char)byte;
        if (low >= 0) at += 2;
    }
    *to = '\0';
    return true;
}

/* The length of a revision: up to a slash, but for references of the Hub, which have some themselves. */
static size_t revision_len(const char *text) {
    size_t len = 0;
    if (strncmp(text, "refs/pr/", 8) == 0)
        len = strspn(text + 8, "0123456789");
    else if (strncmp(text, "refs/convert/", 13) == 0)
        len = strspn(text + 13, NAME_CHARS);
    if (len == 0) return strcspn(text, "/");
    return len + (text[5] == 'p' ? 8 : 13);
}

/* text: "OWNER/NAME[@REV][/PATH]", cut into these. */
static bool take_source(char *text, struct volume *v, const char *whole, sbx_error *err) {
    bool bucket = strcmp(v->type, "bucket") == 0;
    size_t owner = strcspn(text, "/@");
    size_t name = text[owner] == '/' ? strcspn(text + owner + 1, "/@") : 0;
    if (!name_ok(text, owner) || !name_ok(text + owner + 1, name))
        return refuse(err, whole, "an OWNER/NAME is missing, or has characters that no name has");
    v->id = text;
    char *at = text + owner + 1 + name;
    if (*at == '@') {
        if (bucket) return refuse(err, whole, "buckets have no revisions; leave the '@' out");
        *at++ = '\0';
        size_t len = revision_len(at);
        char *revision = at;
        at += len;
        bool more = *at == '/';
        if (*at != '\0' && !more)
            return refuse(err, whole, "the revision is followed by something other than a path");
        *at = '\0';
        at += more;
        if (!decode(revision) || !parts_ok(revision) || strstr(revision, "..") != NULL)
            return refuse(err, whole, "the revision behind '@' is empty, or no name of one");
        v->revision = revision;
        if (more) v->path = at;
    } else if (*at == '/') {
        *at++ = '\0';
        v->path = at;
    }
    if (v->path != NULL && !parts_ok(v->path))
        return refuse(err, whole,
                      "the path inside it ends in '/', or has an empty part, '.' or '..'; write it without");
    return true;
}

static bool parse(char *text, struct volume *v, const char *whole, sbx_error *err) {
    for (const char *c = whole; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f) return refuse(err, whole, "it holds a control character");
    }
    if (strncmp(text, "hf://", 5) != 0) return refuse(err, whole, "it must begin with hf://");
    text = take_suffix(text + 5, v);
    if (!take_mount(text, v, whole, err)) return false;
    text = take_type(text, v, whole, err);
    if (text == NULL || !take_source(text, v, whole, err)) return false;
    if (strcmp(v->type, "bucket") != 0) {
        if (v->read_only == 0)
            return refuse(err, whole, "only buckets can be written to; leave :rw out, or mount a bucket");
        v->read_only = 1;
    }
    return true;
}

static void put(struct buf *out, const char *member, const char *value) {
    if (value == NULL) return;
    buf_puts(out, member);
    json_put_text(out, value);
}

bool volume_json(struct buf *out, const char *text, sbx_error *err) {
    struct volume v = {0};
    size_t len = strlen(text);
    if (len > TEXT_MAX) {
        error_set(err, SBX_ERROR_INVALID, "the volume '%.100s...' has %zu bytes: at most %d are read", text,
                  len, TEXT_MAX);
        return false;
    }
    char *copy = strdup(text);
    if (copy == NULL) {
        error_memory(err);
        return false;
    }
    bool ok = parse(copy, &v, text, err);
    if (ok) {
        struct buf object =
            BUF_INIT(2 * TEXT_MAX + 200); /* at most two bytes for one: no control characters */
        put(&object, "{\"type\":", v.type);
        put(&object, ",\"source\":", v.id);
        put(&object, ",\"mountPath\":", v.mount);
        put(&object, ",\"revision\":", v.revision);
        if (v.read_only >= 0) buf_puts(&object, v.read_only ? ",\"readOnly\":true" : ",\"readOnly\":false");
        put(&object, ",\"path\":", v.path);
        buf_putc(&object, '}');
        ok = !object.failed && buf_append(out, object.data, object.len);
        if (object.failed)
            error_memory(err);
        else if (!ok)
            error_set(err, SBX_ERROR_TOO_LARGE, "the volumes are more than one request holds; give fewer");
        buf_free(&object);
    }
    free(copy);
    return ok;
}
