#include "check.h"

#include "util/sha256.h"

/* The vectors of patterns were made by Python's hashlib and hmac. */
static void pattern(uint8_t *out, size_t len) {
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(i * 7 + 3);
}

static const char *hash_in_pieces(const uint8_t *data, size_t len, size_t piece) {
    static char hex[65];
    uint8_t digest[32];
    struct sha256 hash;
    sha256_init(&hash);
    for (size_t at = 0; at < len; at += piece)
        sha256_add(&hash, data + at, len - at < piece ? len - at : piece);
    sha256_end(&hash, digest);
    sha256_hex(digest, hex);
    const struct sha256 zero = {0};
    CHECK(memcmp(&hash, &zero, sizeof hash) == 0);
    return hex;
}

static void standard(void) {
    CHECK_STR(hash_in_pieces((const uint8_t *)"abc", 3, 3),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    CHECK_STR(hash_in_pieces((const uint8_t *)two, strlen(two), 5),
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    uint8_t *many = malloc(1000000);
    memset(many, 'a', 1000000);
    CHECK_STR(hash_in_pieces(many, 1000000, 999),
              "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(many);
}

static void lengths_around_blocks(void) {
    static const struct {
        size_t len;
        const char *hex;
    } cases[] = {{0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
                 {1, "084fed08b978af4d7d196a7446a86b58009e636b611db16211b65a9aadff29c5"},
                 {55, "e7313d333c272e639f790978283f9eb392e843d0f29b7016828bb1daa4aac70b"},
                 {56, "4324d65f3c103567f5589c710bc08f8523f929a9272e3af36fc968e52abc6c27"},
                 {57, "35df609437dcfea3279283ab79fd554e2bf78f8f7ae2de532d8ee300b09e8f73"},
                 {63, "81c80242132f230c3bd41b3e63bbcff16107339549214a99614ff26664625055"},
                 {64, "39e3d7b6b5d075d37d053ad89b24b41bef4f3c29760c84447cab3f3be1882241"},
                 {65, "aacca6ff74fdbb296d165a45cecfa04e5127bc008770fbbdd48006f2d2fae95e"},
                 {119, "9ce7368e4daf32341631b492e80359dc9f594b48453cd0dd5bf0b19279cc177e"},
                 {120, "7836b787757e95e58b3ca5aec90b1b004e8deba1e50e9675af9cabf1a13a04b5"},
                 {127, "a8d23e75d936f303d248888d9b165ee543f4cbafcad3c9dd2a79bd84faa11d07"},
                 {128, "d2742f1f4ac6bb7ca2b239ee18402ba8b3f9f8e652d2a72973c2b9ba11c08cf6"},
                 {1000, "1e9bc38cbf860b9ec31918b065f9b52476c549a782e0e7990bed8ce3868d2371"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t *data = malloc(cases[i].len + 1);
        pattern(data, cases[i].len);
        for (size_t piece = 1; piece <= 130; piece += piece < 4 ? 1 : 21)
            CHECK_STR(hash_in_pieces(data, cases[i].len, piece), cases[i].hex);
        CHECK_STR(hash_in_pieces(data, cases[i].len, cases[i].len + 1), cases[i].hex);
        free(data);
    }
}

static const char *hmac(const void *key, size_t key_len, const char *message) {
    static char hex[65];
    uint8_t digest[32];
    sha256_hmac(key, key_len, message, strlen(message), digest);
    sha256_hex(digest, hex);
    return hex;
}

static void keyed(void) {
    static const struct {
        size_t len;
        const char *hex;
    } cases[] = {{0, "97c9c65ee95e495bffa59fefc4b1dc88835ce66eef06ebe4d5f12146f00b9767"},
                 {1, "358969ad9c70d3f4e65de37a68a68485ff38763a423489d221ccd46f35089a85"},
                 {63, "9d0ae61481b355935ff0e67a73ad671e20583b044be32c2767b89e30cbc6fe5b"},
                 {64, "fc13a800c955d3a02d69eb4af273d043264f70ac6b87cebf5b3606400b3d53be"},
                 {65, "98bf52987581a9e0145f13f5048029d836c3c96fe58adb1fa8f02b157faeead7"},
                 {200, "4a0cc46af96823db93fd131ebae4a148d995ba760f59c9f6cc0dfebf091a1629"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t key[200];
        pattern(key, cases[i].len);
        CHECK_STR(hmac(key, cases[i].len, "hf-sandbox:x"), cases[i].hex);
    }
    uint8_t digest[32];
    char hex[65];
    sha256_hmac(NULL, 0, NULL, 0, digest);
    sha256_hex(digest, hex);
    CHECK_STR(hex, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

/* What the Hub's own client derives as a sandbox's token. */
static void sandbox_tokens(void) {
    static const struct {
        const char *key, *message, *hex;
    } cases[] = {{"hf_ExampleToken0123456789", "hf-sandbox:00112233445566778899aabbccddeeff",
                  "28d5418635aabbfdc4650a9f4367154e9e3210ddf9aa12b3ac7d936b3dce54d6"},
                 {"hf_test", "hf-sandbox:3812d065533f34534beac79e0a4ad47c",
                  "8571e6a3a66832c2faf2c2655abf9f0e816bb4db007c3213ea12cca41a627da0"},
                 {"hf_t\xc3\xa9st", "hf-sandbox:ffffffffffffffffffffffffffffffff",
                  "a2096e16778294b6b6b4b9307129132b83a4269138db5fe56c73628131049d39"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_STR(hmac(cases[i].key, strlen(cases[i].key), cases[i].message), cases[i].hex);
}

CHECK_MAIN(standard, lengths_around_blocks, keyed, sandbox_tokens)
