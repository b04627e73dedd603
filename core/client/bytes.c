#include <stdlib.h>

#include "client/sandbox.h"
#include "util/buf.h"

struct sbx_bytes {
    char *data;
    size_t len;
};

sbx_bytes *sandbox_bytes(struct buf *data) {
    sbx_bytes *bytes = malloc(sizeof *bytes);
    if (bytes == NULL) return NULL;
    bytes->len = data->len;
    bytes->data = buf_take(data);
    if (bytes->data != NULL) return bytes;
    free(bytes);
    return NULL;
}

const void *sbx_bytes_data(const sbx_bytes *bytes) {
    return bytes != NULL ? bytes->data : "";
}

size_t sbx_bytes_size(const sbx_bytes *bytes) {
    return bytes != NULL ? bytes->len : 0;
}

void sbx_bytes_free(sbx_bytes *bytes) {
    if (bytes == NULL) return;
    free(bytes->data);
    free(bytes);
}
