/* HTTP/1.1 as a proxy needs it: heads taken apart and written anew, bodies only followed to their end. Pure: bytes in, struct out. */
#ifndef HUB_PROXY_HTTP_H
#define HUB_PROXY_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"

#define HEAD_MAX    65536
#define HEAD_FIELDS 200

struct slice {
    const char *p;
    size_t len;
};

struct head {
    struct slice method, target; /* of a request */
    int status;                  /* of a reply */
    bool old;                    /* HTTP/1.0 */
    size_t len;                  /* of the whole head */
    struct {
        struct slice name, value;
    } fields[HEAD_FIELDS];
    size_t count;
};

enum body_kind { BODY_NONE, BODY_LENGTH, BODY_CHUNKED, BODY_UNTIL_CLOSE, BODY_TUNNEL };

struct body {
    enum body_kind kind;
    bool done, bad;
    uint64_t left; /* of the length, or of the chunk */
    int state;
    bool empty_line;
};

/* 1 when a whole head stands at the beginning of data, 0 when more is needed, -1 when it can be none. */
int head_parse(struct head *head, const char *data, size_t len, bool reply);
/* The value of the first field of that name; {NULL, 0} when there is none. */
struct slice head_field(const struct head *head, const char *name);
/* A comma-separated field names the token. */
bool head_has_token(const struct head *head, const char *name, const char *token);
bool slice_is(struct slice s, const char *text); /* without regard to case */

/* How the body of this request, or of the reply to a request with this method, is framed. False when it contradicts itself. */
bool body_of_request(struct body *body, const struct head *head);
bool body_of_reply(struct body *body, const struct head *head, bool to_head_request);
/* How many of these bytes belong to the body; sets done at its end, bad when a chunk is none. */
size_t body_take(struct body *body, const char *data, size_t len);

/* The head that goes on to the job: target as given, without Authorization and what concerns this connection alone; close asks the
   job to end the connection. */
bool head_write_request(struct buf *out, const struct head *head, struct slice target, bool close);
bool head_write_reply(struct buf *out, const struct head *head, bool close);

#endif
