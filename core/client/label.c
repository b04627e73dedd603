#include "client/label.h"

#include <string.h>

#include "client/error.h"
#include "util/sha256.h"

#define ALLOWED  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
#define RESERVED "hf-sandbox"

static bool part_ok(const char *text, size_t len) {
    return len >= 1 && len <= LABEL_MAX && strspn(text, ALLOWED) >= len;
}

sbx_status label_check(const char *label, sbx_error *err) {
    const char *equals = strchr(label, '=');
    if (equals == NULL)
        return error_set(err, SBX_ERROR_INVALID, "the label '%.200s' has no '=': write it as key=value",
                         label);
    if (!part_ok(label, (size_t)(equals - label)) || !part_ok(equals + 1, strlen(equals + 1)))
        return error_set(
            err, SBX_ERROR_INVALID,
            "the label '%.240s' cannot be: its key and its value must have 1 to %d characters of "
            "A-Z a-z 0-9 _ - each",
            label, LABEL_MAX);
    if (strncmp(label, RESERVED, strlen(RESERVED)) == 0)
        return error_set(err, SBX_ERROR_INVALID,
                         "the label '%s' cannot be: keys that begin with " RESERVED
                         " belong to this library; choose another",
                         label);
    return SBX_OK;
}

bool label_image_is_space(const char *image, const char **space) {
    static const char *const prefixes[] = {"https://huggingface.co/spaces/", "https://hf.co/spaces/",
                                           "huggingface.co/spaces/", "hf.co/spaces/"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        size_t len = strlen(prefixes[i]);
        if (strncmp(image, prefixes[i], len) != 0) continue;
        *space = image + len;
        return true;
    }
    return false;
}

/* The part of the text that the name begins with: all of a Space, the last part of an image's path. */
static const char *base_of(const char *text, bool space, size_t *len) {
    const char *base = text;
    if (space && !label_image_is_space(text, &base)) base = text;
    *len = strlen(base);
    if (!space) {
        while (*len > 0 && base[*len - 1] == '/')
            --*len;
        size_t end = *len;
        while (*len > 0 && base[*len - 1] != '/')
            --*len;
        base += *len;
        *len = end - *len;
    }
    if (*len > 0) return base;
    *len = strlen(text);
    return text;
}

void label_name(char out[128], const char *image_or_space, bool space, const char *const *argv) {
    struct sha256 hash;
    sha256_init(&hash);
    sha256_add(&hash, image_or_space, strlen(image_or_space));
    for (size_t i = 0; argv != NULL && argv[i] != NULL; i++) {
        sha256_add(&hash, "", 1);
        sha256_add(&hash, argv[i], strlen(argv[i]));
    }
    uint8_t digest[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1];
    sha256_end(&hash, digest);
    sha256_hex(digest, hex);

    size_t len, at = 0;
    const char *base = base_of(image_or_space, space, &len);
    for (size_t i = 0; i < len && at < LABEL_MAX - 9; i++) {
        /* One '-' for a character of UTF-8, however many bytes it has. */
        if (((unsigned char)base[i] & 0xc0) == 0x80) continue;
        out[at++] = strchr(ALLOWED, base[i]) != NULL ? base[i] : '-';
    }
    out[at++] = '-';
    memcpy(out + at, hex, 8);
    out[at + 8] = '\0';
}
