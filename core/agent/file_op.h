/* One file operation of a request: the part on the loop and the part on the workers, and what happens when
 * either ends first. */
#ifndef AGENT_FILE_OP_H
#define AGENT_FILE_OP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "agent/conn.h"
#include "agent/file_path.h"
#include "agent/workers.h"
#include "wire/codes.h"

/* Why an operation failed. Filled on a worker, sent on the loop. */
struct file_error {
    enum wire_code code; /* WIRE_OK = it did not fail */
    int number;          /* errno, or 0 */
    char detail[256];    /* added to the text; may be empty */
};

/* The first member of each operation's own struct. */
struct file_op {
    struct job job;
    struct exchange *x; /* the loop's; NULL once the exchange is over */
    struct file_path path;
    struct file_error error;
    atomic_bool cancel;               /* the exchange is over: the work is for nobody */
    bool running;                     /* a worker has it */
    bool answering;                   /* done is being called */
    bool held;                        /* release has something to do that may block */
    bool again;                       /* set by work: call it once more, after other jobs had their turn */
    void (*work)(struct file_op *op); /* on a worker */
    void (*done)(struct file_op *op); /* on the loop, and only while the exchange lives */
    void (*release)(
        struct file_op *op); /* closes what the operation holds; on a worker when `held`, else on the loop */
    void (*forget)(struct file_op *op); /* on the loop, last: gives back what is the loop's */
};

/* Makes the operation (size bytes, zeroed) for the path in a query parameter, by default "path". NULL: an
   error was answered. `release` may be NULL, and so may `forget`, which the caller sets. */
void *file_op_new(struct exchange *x, size_t size, void (*release)(struct file_op *op));
void *file_op_new_for(struct exchange *x, const char *parameter, size_t size,
                      void (*release)(struct file_op *op));

/* Another path of the request. False: an error was answered. */
bool file_op_path(struct exchange *x, const char *parameter, struct file_path *out);

/* A number of the request, at most INT64_MAX, which larger ones become. 1 found, 0 absent, -1 an error was
 * answered. */
int file_op_number(struct exchange *x, const char *parameter, uint64_t *out);

/* A header field, all its lines joined by commas, for the caller to free; *out NULL when absent. False: an
 * error was answered. */
bool file_op_field(struct exchange *x, const char *name, char **out);

/* The on_close of every operation; one with an on_close of its own ends by calling it. */
void file_op_close(struct exchange *x);

void file_op_run(struct file_op *op, void (*work)(struct file_op *), void (*done)(struct file_op *));

/* Notes the failure; returns false. */
bool file_op_fail(struct file_error *e, int error_number);
bool file_op_fail_as(struct file_error *e, enum wire_code code);
bool file_op_fail_code(struct file_error *e, enum wire_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Answers with the error of op, and what it concerns. */
void file_op_answer_error(struct file_op *op);

/* Answers {"<key>": path}. */
void file_op_answer_path(struct file_op *op, const char *key);

#endif
