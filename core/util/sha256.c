#include "util/sha256.h"

#include <string.h>

#include "util/text.h"

/* The first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate(uint32_t x, unsigned by) {
    return x >> by | x << (32 - by);
}

static uint32_t load(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void store(uint8_t *at, uint32_t x) {
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(x >> (24 - 8 * i));
}

/* Word t of the message schedule; only the last 16 are kept, in the place of t modulo 16. */
static uint32_t word(uint32_t schedule[16], const uint8_t *block, unsigned t) {
    uint32_t *w = &schedule[t % 16];
    if (t < 16) {
        *w = load(block + 4 * t);
    } else {
        uint32_t a = schedule[(t - 15) % 16], b = schedule[(t - 2) % 16];
        *w += (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + schedule[(t - 7) % 16] +
              (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
    }
    return *w;
}

static void compress(struct sha256 *hash, const uint8_t *block) {
    uint32_t a = hash->state[0], b = hash->state[1], c = hash->state[2], d = hash->state[3];
    uint32_t e = hash->state[4], f = hash->state[5], g = hash->state[6], h = hash->state[7];
    for (unsigned t = 0; t < 64; t++) {
        uint32_t one = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + K[t] +
                       word(hash->schedule, block, t);
        uint32_t two = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + one;
        d = c, c = b, b = a, a = one + two;
    }
    const uint32_t worked[8] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; i++)
        hash->state[i] += worked[i];
}

void sha256_init(struct sha256 *hash) {
    *hash = (struct sha256){.state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c,
                                      0x1f83d9ab, 0x5be0cd19}};
}

void sha256_add(struct sha256 *hash, const void *data, size_t len) {
    const uint8_t *at = data;
    size_t held = hash->len % SHA256_BLOCK;
    hash->len += len;
    while (len > 0) {
        if (held == 0 && len >= SHA256_BLOCK) {
            compress(hash, at);
            at += SHA256_BLOCK, len -= SHA256_BLOCK;
            continue;
        }
        size_t part = SHA256_BLOCK - held < len ? SHA256_BLOCK - held : len;
        memcpy(hash->block + held, at, part);
        held += part, at += part, len -= part;
        if (held == SHA256_BLOCK) {
            compress(hash, hash->block);
            held = 0;
        }
    }
}

void sha256_end(struct sha256 *hash, uint8_t out[SHA256_SIZE]) {
    static const uint8_t padding[SHA256_BLOCK] = {0x80};
    uint64_t bits = hash->len * 8;
    uint8_t length[8];
    store(length, (uint32_t)(bits >> 32));
    store(length + 4, (uint32_t)bits);
    /* So many that the length ends a block. */
    sha256_add(hash, padding, 1 + (2 * SHA256_BLOCK - 9 - hash->len % SHA256_BLOCK) % SHA256_BLOCK);
    sha256_add(hash, length, sizeof length);
    for (int i = 0; i < 8; i++)
        store(out + 4 * i, hash->state[i]);
    explicit_bzero(hash, sizeof *hash);
}

void sha256_hmac(const void *key, size_t key_len, const void *message, size_t len, uint8_t out[SHA256_SIZE]) {
    struct sha256 hash;
    uint8_t pad[SHA256_BLOCK] = {0};
    if (key_len > sizeof pad) {
        sha256_init(&hash);
        sha256_add(&hash, key, key_len);
        sha256_end(&hash, pad);
    } else if (key_len > 0) {
        memcpy(pad, key, key_len);
    }
    for (size_t i = 0; i < sizeof pad; i++)
        pad[i] ^= 0x36;
    sha256_init(&hash);
    sha256_add(&hash, pad, sizeof pad);
    sha256_add(&hash, message, len);
    uint8_t inner[SHA256_SIZE];
    sha256_end(&hash, inner);

    for (size_t i = 0; i < sizeof pad; i++)
        pad[i] ^= 0x36 ^ 0x5c;
    sha256_init(&hash);
    sha256_add(&hash, pad, sizeof pad);
    sha256_add(&hash, inner, sizeof inner);
    sha256_end(&hash, out);
    explicit_bzero(inner, sizeof inner);
    explicit_bzero(pad, sizeof pad);
}

void sha256_hex(const uint8_t digest[SHA256_SIZE], char out[2 * SHA256_SIZE + 1]) {
    text_hex(digest, SHA256_SIZE, out);
}
