/* A turn is one request and its response on a connection. conn.c moves bytes and decides what comes next,
   turn.c brings the request to its handler, exchange.c is what handlers call. Handlers never free: what they
   do is marked, and the connection acts on it at the end of the loop's turn. So an exchange cannot vanish
   under a call that its handler makes. */
#ifndef AGENT_TURN_H
#define AGENT_TURN_H

#include "agent/conn.h"
#include "agent/route.h"
#include "wire/limits.h"

#define EXCHANGE_QUEUE MIB(16) /* beyond what any producer that heeds EXCHANGE_HIGH reaches */
#define TURN_PARAM     128     /* room for what stands for ":id" */

struct turn {
    struct exchange x; /* first, so that the one is the other */
    struct http_parser *parser;
    const struct route *route; /* NULL before the head, and when the answer is an error already */
    struct buf out;            /* unsent bytes from out_at on */
    size_t out_at;
    struct buf big; /* a whole body that was handed over; follows `out` */
    size_t big_at;
    struct buf fields; /* header lines that the handler adds */
    int64_t body_left; /* of the response, as promised by Content-Length; -1 = not promised */
    size_t head;       /* bytes of the request's head so far */
    uint64_t received; /* bytes of its body */
    size_t dropped;    /* of those, thrown away */
    bool headed;       /* the request's head is complete */
    bool received_all; /* its body too */
    bool authenticated;
    bool paused;
    bool drop; /* the rest of the body is of no use */
    bool tunnel;
    bool shut;         /* a tunnel: our side is closed, the peer still writes */
    bool continue_due; /* 100 Continue is expected and has not been sent */
    bool begun, ended, aborted;
    bool chunked;
    bool bodiless; /* HEAD: nothing follows the response's head */
    bool close;    /* the connection ends after this turn */
    bool was_full; /* on_drain is due when the queue has fallen */
    char param[TURN_PARAM];
};

enum conn_wait { WAIT_NOTHING, WAIT_REQUEST, WAIT_HEAD, WAIT_BODY, WAIT_WRITE, WAIT_LINGER, WAIT_HANDLER };

struct conn {
    struct watch watch;
    struct timer timer; /* fires at or before `deadline` */
    struct later later;
    struct conn *next, **link;
    struct turn *turn; /* NULL between requests */
    struct buf in;     /* bytes read and not used yet */
    int64_t deadline;
    size_t lingered; /* bytes thrown away before the close */
    size_t held;     /* what of LIMIT_UNTRUSTED it has */
    int fd;
    enum conn_wait wait;
    bool trusted;    /* it has shown the token */
    bool eof;        /* the peer writes no more */
    bool blocked;    /* the socket takes nothing now */
    bool broken;     /* the socket failed: nothing can be answered */
    bool took, gave; /* bytes were read or written since the deadline was set */
    bool half;       /* the peer ended its writing, behind bytes that are not read yet */
    bool lingering;  /* everything is said; what still comes is thrown away, so that the close destroys no
                        answer on its way */
    bool refused;    /* over the limit of connections */
};

struct turn *turn_new(struct conn *c);
void turn_free(struct turn *t);
void turn_release(struct turn *t, bool lost); /* tells the handler, once, that its exchange is over */

/* What the parser found, in its order. */
void turn_head(struct turn *t);
void turn_body(struct turn *t, const char *data, size_t len);
void turn_body_end(struct turn *t);

/* A request that is malformed or too slow: the answer if none has begun, and the end of the connection in any
 * case. */
void turn_bad(struct turn *t, int status, enum wire_code code, const char *why);

size_t turn_authenticated(void); /* turns under way whose token was right */
int64_t turn_last_activity(void);

void conn_wake(struct conn *c); /* looks at the connection at the end of this turn of the loop */

/* Sends what is queued until the socket takes no more. False: the socket failed. */
bool exchange_flush(struct turn *t);
bool exchange_drained(const struct turn *t);
void exchange_clear(struct turn *t); /* releases what is queued */

#endif
