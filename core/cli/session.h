/* The library as the command uses it: every call is asynchronous, so that a signal cancels whatever is waited
 * for. */
#ifndef CLI_SESSION_H
#define CLI_SESSION_H

#include <hfsandbox/hfsandbox.h>

#include <poll.h>
#include <stdbool.h>

struct session {
    sbx_client *client;
    const char *provider; /* NULL = the default */
    sbx_queue *queue;
    sbx_cancel *cancel;
    bool canceled, verbose;
    bool passes; /* the first signal is for the command: who waits passes it on; only a second one cancels */
    bool told;   /* who waits knows of it */
};

/* provider NULL = the default; verbose: what the library tells goes to standard error. False: said why. */
bool session_open(struct session *s, const char *provider, bool verbose);
sbx_status session_try(struct session *s, const char *provider, bool verbose,
                       sbx_error *err); /* says nothing */
void session_close(struct session *s);

/* How a call is made: canceled by a signal, or (for the end of things) not, but with a deadline. timeout_ms
 * as in sbx_call. */
sbx_call session_call(struct session *s, int64_t timeout_ms, void *user);
sbx_call session_last_call(struct session *s, int64_t timeout_ms, void *user);

/* Waits for a completion, or for `extra` (may be NULL), or timeout_ms (-1 = none), or for the first signal
 * while `passes`. 1 = *done was filled, 0 = look at the others. */
int session_poll(struct session *s, sbx_completion *done, struct pollfd *extra, int timeout_ms);

/* Waits for the completion of the call that returned `started` and was given `user`. Others that come
 * meanwhile are let go. */
sbx_status session_wait(struct session *s, sbx_status started, const void *user, sbx_completion *done,
                        sbx_error *err);
void session_release(sbx_completion *done); /* frees what a completion brought */

/* What failed, in the words of the command line. */
void session_text(char *out, size_t size, const sbx_error *err);

/* Says what failed, unless a signal was the cause; gives the exit code. */
int session_failed(const sbx_error *err);
int session_not_found(const struct session *s, const char *id,
                      const sbx_error *err); /* the same, of a sandbox by its id */

/* A handle to sandbox `id`; NULL: said why. timeout_ms 0 = the library's. */
sbx_sandbox *session_connect(struct session *s, const char *id);
sbx_sandbox *session_connect_within(struct session *s, const char *id, int64_t timeout_ms);

#endif
