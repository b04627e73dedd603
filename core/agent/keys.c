#include "agent/keys.h"

#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "util/text.h"
#include "wire/limits.h"

#define BUCKETS      256
#define NAME_LONGEST 40

struct key_name {
    struct key_name *next; /* in its bucket */
    struct key *keys;      /* newest first */
    int64_t used_ms;
    uint64_t forgotten; /* the highest forgotten number */
    bool any_forgotten;
    char text[];
};

static bool parse(const char *text, size_t *name_len, uint64_t *number) {
    size_t len = 0;
    while (isalnum((unsigned char)text[len]) || text[len] == '_' || text[len] == '-')
        len++;
    *name_len = len;
    return len >= 1 && len <= NAME_LONGEST && text[len] == '.' &&
           text_u64(text + len + 1, strlen(text + len + 1), number);
}

static struct key_name **bucket_of(const struct keys *keys, const char *text, size_t len) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)text[i]) * 16777619u;
    return &keys->table[hash % BUCKETS];
}

static struct key_name *find_name(const struct keys *keys, const char *text, size_t len) {
    struct key_name *n = *bucket_of(keys, text, len);
    while (n != NULL && !(strncmp(n->text, text, len) == 0 && n->text[len] == '\0'))
        n = n->next;
    return n;
}

/* Frees the name that has been silent longest, if that is long enough for no request of it to be still on its
 * way. */
static bool drop_silent(struct keys *keys, int64_t now_ms) {
    struct key_name **oldest = NULL;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct key_name **at = &keys->table[i]; *at != NULL; at = &(*at)->next)
            if ((*at)->keys == NULL && (oldest == NULL || (*at)->used_ms < (*oldest)->used_ms)) oldest = at;
    if (oldest == NULL || now_ms - (*oldest)->used_ms < KEYS_NAME_KEEP) return false;
    struct key_name *n = *oldest;
    *oldest = n->next;
    free(n);
    keys->names--;
    return true;
}

static struct key_name *make_name(struct keys *keys, const char *text, size_t len, int64_t now_ms) {
    struct key_name *n = calloc(1, sizeof *n + len + 1);
    if (n == NULL) return NULL;
    memcpy(n->text, text, len);
    n->used_ms = now_ms;
    n->next = *bucket_of(keys, text, len);
    *bucket_of(keys, text, len) = n;
    keys->names++;
    return n;
}

enum key_state keys_find(struct keys *keys, const char *text, int64_t now_ms, struct key **found) {
    size_t len;
    uint64_t number;
    if (!parse(text, &len, &number)) return KEY_MALFORMED;
    if (keys->table == NULL) keys->table = calloc(BUCKETS, sizeof *keys->table);
    if (keys->table == NULL) return KEY_FULL;
    struct key_name *n = find_name(keys, text, len);
    if (n == NULL) {
        if (keys->names >= KEYS_NAMES_MAX && !drop_silent(keys, now_ms)) return KEY_FULL;
        return make_name(keys, text, len, now_ms) != NULL ? KEY_NEW : KEY_FULL;
    }
    n->used_ms = now_ms;
    for (struct key *k = n->keys; k != NULL; k = k->next)
        if (k->number == number) {
            *found = k;
            return KEY_KNOWN;
        }
    return n->any_forgotten && number <= n->forgotten ? KEY_FORGOTTEN : KEY_NEW;
}

bool keys_remember(struct keys *keys, struct key *k, const char *text) {
    size_t len;
    if (!parse(text, &len, &k->number)) return false;
    struct key_name *n = keys->table == NULL ? NULL : find_name(keys, text, len);
    if (n == NULL) return false;
    k->name = n;
    k->next = n->keys;
    n->keys = k;
    return true;
}

void keys_undo(struct key *k) {
    if (k->name == NULL) return;
    struct key **at = &k->name->keys;
    while (*at != k)
        at = &(*at)->next;
    *at = k->next;
    k->name = NULL;
}

void keys_forget(struct key *k) {
    struct key_name *n = k->name;
    if (n == NULL) return;
    keys_undo(k);
    if (!n->any_forgotten || k->number > n->forgotten) n->forgotten = k->number;
    n->any_forgotten = true;
}

void keys_free(struct keys *keys) {
    for (size_t i = 0; keys->table != NULL && i < BUCKETS; i++) {
        for (struct key_name *n = keys->table[i], *next; n != NULL; n = next) {
            next = n->next;
            free(n);
        }
    }
    free(keys->table);
    *keys = (struct keys){.table = NULL};
}
