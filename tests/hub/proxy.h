/* hub-proxy: the way to a job's ports, as https://<job>--<port>.hf.jobs is one. One thread, epoll, nothing buffered whole.

   Started by the Hub: hub-proxy <directory>. Standard input is a Unix socket (SOCK_SEQPACKET) that carries commands (proxy_control.c)
   and, by its end, the end of the Hub: the proxy then removes the directory and ends. */
#ifndef HUB_PROXY_H
#define HUB_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proxy_http.h"
#include "proxy_queue.h"
#include "proxy_stream.h"

#define NAME_MAX_LEN 64
#define PORTS_MAX    16

/* -- the loop (proxy_main.c) */

/* What epoll knows about: the first member of everything that has a descriptor. */
struct watch {
    void (*ready)(struct watch *w, uint32_t events);
};

/* A moment; the first member after which something is to be done. Those that are set stand in a heap. */
struct timer {
    int64_t at; /* clock_us; CLOCK_NEVER = not set */
    size_t place;
    void (*fire)(struct timer *t);
};

extern int64_t loop_now; /* clock_us of this turn */
bool loop_watch(int fd, struct watch *w);
void loop_set_timer(struct timer *t, int64_t at);

/* -- jobs, tokens and dials (proxy_table.c) */

struct settings {
    int64_t rtt_us;
    size_t window;    /* the most bytes on their way in one direction; 0 = what serves speed */
    int unready;      /* status until the port listens; 0 = the connection is closed, 1 = nothing is answered */
    int gone;         /* status for a job that has ended, or never was */
    int no_token;     /* status without a token, or with one that is unknown */
    int no_access;    /* status for a token without access to the namespace */
    int no_port;      /* status for a port that is not exposed */
    bool reuse;       /* connections to the job serve several requests, and several clients */
    uint64_t max_body; /* of a request: 413; 0 = any */
};

struct upstream;

struct job {
    struct job *next;
    char id[NAME_MAX_LEN], ns[NAME_MAX_LEN];
    int netns; /* -1 before the job runs, and after */
    bool ended;
    unsigned ports[PORTS_MAX], public_ports[PORTS_MAX]; /* 0-terminated when not full */
    struct settings set;
    struct upstream *idle;
};

enum fault_kind { FAULT_NONE, FAULT_STATUS, FAULT_CUT, FAULT_LOSE_REPLY, FAULT_CUT_REPLY, FAULT_CUT_REQUEST, FAULT_HANG };

struct fault {
    struct fault *next;
    char id[NAME_MAX_LEN], job[NAME_MAX_LEN], method[16], path[128]; /* "" = any; path: a part of the target */
    unsigned port;       /* 0 = any */
    long skip, count;    /* matches that pass first; then so many are hit; -1 = all */
    double rate;         /* of those, by chance */
    enum fault_kind kind;
    int status;
    char headers[512], body[512];
    uint64_t bytes;     /* of the body, before a cut */
    int64_t delay_us;   /* added to the reply, with or without another fault */
    bool orderly;       /* a cut is an end of stream, not a reset */
    unsigned long hits; /* so far */
};

extern struct settings table_defaults;
extern bool table_record;
struct job *table_job(const char *id);
struct job *table_add_job(const char *id, const char *ns);
void table_end_job(struct job *job);
bool table_set(struct settings *set, const char *key, const char *value);
void table_set_token(const char *token, char **namespaces, size_t count); /* none: the token is forgotten */
/* 200, or the status to refuse with. */
int table_check(const struct job *job, unsigned port, struct slice authorization);
struct fault *table_add_fault(void);
void table_remove_fault(const char *id);
void table_seed(uint64_t seed);
/* The fault that hits this request, counted; NULL when none does. */
const struct fault *table_fault(const char *job, unsigned port, struct slice method, struct slice target);
const struct fault *table_faults(void);
void table_free(void);

/* -- one client connection (proxy_pair.c; proxy_request.c: where a request goes; proxy_reply.c: replies) */

enum request_state { REQUEST_HEAD, REQUEST_BODY, REQUEST_DISCARD, REQUEST_DONE, REQUEST_TUNNEL, REQUEST_DEAF };
enum reply_state { REPLY_IDLE, REPLY_HEAD, REPLY_BODY, REPLY_TUNNEL };

struct pair {
    struct watch watch;
    struct timer timer;
    struct pair *next, *previous;
    struct pair *next_ready;
    bool queued, dead;
    unsigned long id, requests;
    bool tls;
    struct stream client;
    int64_t gate; /* nothing is read before: the time that the connection's making takes */

    enum request_state request;
    struct buf request_in; /* read, not yet taken apart */
    struct body request_body;
    uint64_t request_body_bytes;
    struct queue up;
    bool up_end; /* then the end */

    struct job *job; /* of the request under way */
    unsigned port;
    struct settings set;
    struct upstream *upstream;
    bool to_head;      /* the request's method is HEAD */
    struct fault fault; /* a copy; kind NONE = none */

    enum reply_state reply;
    struct buf reply_in;
    struct body reply_body;
    uint64_t reply_body_bytes;
    struct queue down;

    bool keep_upstream; /* the job leaves the connection open after this reply */

    bool hung_up;   /* the client sends no more */
    bool abandoned; /* and this request has lost it: what it sent goes on to the job, then both connections end */
    bool last;      /* the connection ends after this reply */
    bool cut;       /* once what is on its way has arrived, the connection is cut */
    bool lingers; /* the end has been sent; the client's is awaited */
    int64_t linger_until;
};

void pair_open(int fd, bool tls);
void pair_wake(struct pair *p); /* something has changed: it is to run soon */
bool pair_run_ready(void);      /* runs those that are to; true when some are left */
void pair_free_dead(void);
void pair_free_all(void);
size_t pair_count(void);
/* Everything is over for this connection, at once. */
void pair_kill(struct pair *p, bool reset);
/* The moment at which bytes that leave here and now are at the other end. */
int64_t pair_due(const struct pair *p, int64_t distance_us);
size_t pair_limit(const struct pair *p); /* the most bytes on their way in one direction */
/* The reply is whole, or there will be none: the next request can come, unless this was the last one. */
void pair_next_request(struct pair *p);

/* The head of a request is there: it is sent on, refused, or meets its fault. */
void request_begin(struct pair *p, const struct head *head);
/* Answers instead of the job. What is left of the request is read and thrown away. */
void reply_local(struct pair *p, int status, const char *headers, const char *body);
bool reply_read(struct pair *p); /* true when something has moved */
/* The upstream is lost: before the reply begins, that is a status; later, the client's connection breaks. */
void reply_upstream_lost(struct pair *p);

/* -- connections to jobs (proxy_upstream.c) */

struct upstream {
    struct watch watch;
    struct upstream *next; /* among the idle ones */
    struct stream stream;
    struct job *job;
    unsigned port;
    bool connecting, failed, used, dead;
    struct pair *pair; /* NULL = idle */
};

/* A connection to that port of the job, idle or fresh; NULL when the job has no network now. */
struct upstream *upstream_get(struct job *job, unsigned port, bool reuse);
void upstream_put(struct upstream *u, bool again); /* again: keep it for another request */
void upstream_drop_idle(struct job *job);
void upstream_free_dead(void);
extern unsigned long upstream_opened;

/* -- others */

bool control_start(int fd); /* proxy_control.c; at the end of the stream it sets loop_end */
void control_free(void);
extern bool loop_end;
bool log_open(const char *directory); /* proxy_log.c */
void log_request(const struct pair *p, const struct head *head, const char *action);
void log_reply(const struct pair *p, int status);
void log_close(void);

#endif
