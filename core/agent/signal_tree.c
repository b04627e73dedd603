/* Signals to the trees of processes. Once asked for they are sent, also when the connection that asked is
 * lost. */
#include <stdlib.h>

#include "agent/process.h"
#include "util/testing.h"

struct signal_tree {
    struct tree_op op;
    struct signal_tree *next; /* of the same process */
    struct process *process;
    void (*sent)(void *ctx, const struct tree_op *op); /* NULL: nobody waits */
    void *ctx;
};

static void release(struct signal_tree *s) {
    struct signal_tree **at = &s->process->signals;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    process_changed(s->process);
    free(s->op.survivors);
    free(s->op.before);
    free(s);
}

static void done(struct tree_op *op) {
    struct signal_tree *s = (struct signal_tree *)op;
    if (s->sent != NULL) s->sent(s->ctx, op);
    release(s);
}

struct signal_tree *signal_tree_send(struct process *p, int signal,
                                     void (*sent)(void *ctx, const struct tree_op *op), void *ctx) {
    struct signal_tree *s = calloc(1, sizeof *s);
    if (s == NULL) return NULL;
    *s = (struct signal_tree){
        .op = {.number = p->number + 1,
               .leader = p->pid,
               .signal = signal,
               .since = p->kill.since,
               .done = done},
        .next = p->signals,
        .process = p,
        .sent = sent,
        .ctx = ctx,
    };
    p->signals = s;
    tree_start(&s->op);
    return s;
}

void signal_tree_forget(struct signal_tree *s) {
    s->sent = NULL;
    if (!testing_off("keep-signals")) return;
    tree_cancel(&s->op);
    release(s);
}

void signal_tree_leader_ended(struct process *p) {
    for (struct signal_tree *s = p->signals; s != NULL; s = s->next)
        s->op.leader = 0;
}
