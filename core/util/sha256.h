/* SHA-256 (FIPS 180-4) and HMAC over it (RFC 2104). */
#ifndef UTIL_SHA256_H
#define UTIL_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_SIZE  32
#define SHA256_BLOCK 64

struct sha256 {
    uint32_t state[8];
    uint32_t schedule[16];
    uint64_t len; /* bytes added so far */
    uint8_t block[SHA256_BLOCK];
};

void sha256_init(struct sha256 *hash);
void sha256_add(struct sha256 *hash, const void *data, size_t len);
void sha256_end(struct sha256 *hash, uint8_t out[SHA256_SIZE]); /* wipes hash */

void sha256_hmac(const void *key, size_t key_len, const void *message, size_t len, uint8_t out[SHA256_SIZE]);

void sha256_hex(const uint8_t digest[SHA256_SIZE], char out[2 * SHA256_SIZE + 1]); /* lower case */

#endif
