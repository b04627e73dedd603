// links: client/job_log.c client/json.c client/fork_lock.c
/* The log of a job: whole and in pieces it gives the same text, which holds no secret and nothing that
 * controls a terminal. */
#include "client/job_log.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) abort();                                                                           \
    } while (0)

#define TEXT_MOST (JOB_LOG_LINES * (JOB_LOG_SHOWN + 3))

static void run(struct buf *text, const uint8_t *bytes, size_t size, size_t piece) {
    static const char *const secrets[] = {"hf_secret", "secret-key", "", "abc", NULL};
    struct job_log log;
    job_log_init(&log);
    for (size_t at = 0; at < size;) {
        size_t len = size - at < piece ? size - at : piece;
        char *copy = malloc(len);
        MUST(copy != NULL);
        memcpy(copy, bytes + at, len);
        MUST(job_log_feed(&log, copy, len));
        MUST(log.count <= JOB_LOG_LINES && log.partial.len <= JOB_LOG_LINE_MAX);
        free(copy);
        at += len;
    }
    job_log_text(&log, text, SIZE_MAX, secrets);
    MUST(!text->failed);
    buf_puts(text, "");
    for (size_t i = 0; i < text->len; i++)
        MUST((unsigned char)text->data[i] >= ' ' && text->data[i] != 0x7f);
    MUST(strstr(text->data, "hf_secret") == NULL && strstr(text->data, "secret-key") == NULL);
    job_log_free(&log);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct buf whole = BUF_INIT(TEXT_MOST), byte = BUF_INIT(TEXT_MOST), pieces = BUF_INIT(TEXT_MOST);
    run(&whole, data, size, SIZE_MAX);
    run(&byte, data, size, 1);
    run(&pieces, data, size, 7);
    MUST(strcmp(whole.data, byte.data) == 0 && strcmp(whole.data, pieces.data) == 0);
    buf_free(&whole);
    buf_free(&byte);
    buf_free(&pieces);
    return 0;
}
