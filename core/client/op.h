/* One call that waits: its deadline, its cancel token, where it completes. */
#ifndef CLIENT_OP_H
#define CLIENT_OP_H

#include "client/error.h"
#include "client/io.h"
#include "hfsandbox/hfsandbox.h"

struct sbx_client;
struct request;
struct op;

struct op_link { /* in a list whose head is a struct op pointer */
    struct op *next, *prev;
};

struct op {
    struct sbx_client *client;   /* kept alive */
    struct sbx_sandbox *sandbox; /* kept alive; NULL = a call on the client. Its death fails the op. */
    const char *name;            /* the public function */
    int64_t begun_ms, deadline;  /* CLOCK_NEVER = none */
    sbx_completion out;          /* the result: set the member that belongs to it before op_done */
    /* Called once when the op ends, in whatever way: stop what works for it and free ctx. status says how it
       ended. Requests of the op (request.h) have been stopped already. May be NULL. */
    void (*end)(struct op *op, sbx_status status);
    void *ctx;
    /* What the op waits for, as the end of a deadline's text. May be NULL. */
    void (*doing)(const struct op *op, char *out, size_t room);
    /* The rest belongs to op.c, cancel.c, queue.c and request.c. */
    struct request *requests;
    struct op_link in_sandbox, in_cancel, in_queue, in_process;
    bool listed; /* in its sandbox's list */
    struct sbx_cancel *cancel;
    struct sbx_queue *queue;
    struct completion *completion; /* made beforehand: completing cannot fail */
    struct io_timer timer;
    struct io_waiter waiter;
    int64_t timeout_ms;
    bool ended;
    bool handed_over; /* the public function has returned SBX_PENDING: the op frees itself */
    bool apart;       /* of op_apart: likewise */
    void (*finished)(void *ctx, sbx_completion *out);
    void *finished_ctx;
};

/* SBX_OK when the result has somewhere to go: the caller's out, or a queue. */
sbx_status op_check_out(const void *out, const sbx_call *call, const char *name, sbx_error *err);

/* Checks call, makes the op, arms its deadline. On SBX_OK the client's lock is held until op_finish. sandbox
   may be NULL; when it is dead this fails with SBX_ERROR_AGENT. */
sbx_status op_begin(struct op **out, struct sbx_client *client, struct sbx_sandbox *sandbox, const char *name,
                    const sbx_call *call, int64_t default_timeout_ms, sbx_error *err);
/* Likewise, for calls that a dead sandbox does not fail. */
sbx_status op_begin_dead_too(struct op **out, struct sbx_client *client, struct sbx_sandbox *sandbox,
                             const char *name, const sbx_call *call, int64_t default_timeout_ms,
                             sbx_error *err);

/* A call of the library's own. finished gets its status and result when it has ended, in whatever way; the op
   is gone then. Lock held. NULL: no memory. */
struct op *op_apart(struct sbx_client *client, const char *name, int64_t timeout_ms,
                    void (*finished)(void *ctx, sbx_completion *out), void *ctx);
void op_drop(struct op *op); /* ends it as canceled, without a call of finished; NULL does nothing */

/* Ends the op; it must not be touched afterwards. status: SBX_OK or SBX_DONE. */
void op_done(struct op *op, sbx_status status);
void op_fail(struct op *op, const sbx_error *error);
void op_failf(struct op *op, sbx_status code, const char *format, ...) __attribute__((format(printf, 3, 4)));
void op_fail_memory(struct op *op);

/* The last act of a public function. Waits, unlocks, and gives the op's status and result; with a queue
   returns SBX_PENDING at once (or SBX_ERROR_SYSTEM when the thread cannot be started; the op is ended then).
   out may be NULL when the call has no result. */
sbx_status op_finish(struct op *op, sbx_completion *out, sbx_error *err);

/* Lists by one of the links, given as its offset in struct op. */
void op_list_add(struct op **head, struct op *op, size_t link);
void op_list_remove(struct op **head, struct op *op, size_t link);

#endif
