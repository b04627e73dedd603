/* A process handle inside. */
#ifndef CLIENT_PROCESS_HANDLE_H
#define CLIENT_PROCESS_HANDLE_H

#include "client/op.h"
#include "client/output_queue.h"
#include "client/output_stream.h"

struct feeder;

struct sbx_process {
    int refs;                        /* the handle and each op; guarded by the lock */
    struct sbx_sandbox *sandbox;     /* kept alive */
    struct sbx_process *next, *prev; /* of the sandbox */
    char id[32];
    int64_t pid;
    bool foreground; /* killed when the handle goes while it runs */
    bool wait_closed;
    struct stream *stream; /* NULL: not read now */
    struct output_queue output;
    uint64_t read_to[2]; /* offsets behind what was queued */
    bool read_begun;     /* read_to holds */
    char wait_limit[32]; /* what sbx_process_wait has given as limit */
    bool exited;
    bool exit_given;
    struct stream_exit exit;
    sbx_error failure;     /* code SBX_OK = none */
    struct op *starting;   /* sbx_process_start */
    struct op *reading;    /* sbx_process_next */
    struct op *waiting;    /* sbx_process_wait: a list by in_process */
    struct feeder *feeder; /* input given at the start */
    void *input;           /* its bytes */
    size_t input_len;
    bool input_end;
    sbx_error feed_failure; /* why not all of it has arrived; code SBX_OK = it has, or the command ended */
    bool feed_told;         /* to one who reads or waits */
    struct op *writing;     /* sbx_process_write */
    uint64_t input_offset;  /* where the next byte stands */
    bool input_unsure;      /* a write was broken off */
};

/* Lock held, all but the check. */
struct sbx_process *process_handle_new(struct sbx_sandbox *sandbox); /* one reference; NULL: no memory */
void process_handle_hold(struct sbx_process *process);
void process_handle_release(struct sbx_process *process); /* the last one kills what runs in the foreground */
void process_handle_fail(struct sbx_process *process, const sbx_error *error); /* its sandbox has ended */
bool process_handle_exec(struct sbx_process *process, char *body, size_t body_len, const char *what,
                         sbx_error *err); /* takes body over */
bool process_handle_follow(struct sbx_process *process, sbx_error *err);
/* The end is known: from the stream or from an entry. */
void process_handle_exited(struct sbx_process *process, const struct stream_exit *exit);
sbx_status process_handle_check(const struct sbx_process *process, const char *function, sbx_error *err);

/* In process_next.c: what came may be what somebody waits for. */
void process_next_serve(struct sbx_process *process);
void process_next_give(sbx_event *out, const sbx_event *event); /* as much of it as the caller's struct has */

/* In process_wait.c */
struct sbx_event *process_wait_event(const struct stream_exit *exit); /* NULL: no memory */
void process_wait_serve(struct sbx_process *process);

/* In process_write.c */
void process_write_feed(struct sbx_process *process);

#endif
