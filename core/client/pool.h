/* A pool inside: its hosts, who waits for a place on them, and how it grows. pool.c holds the public
   functions, pool_step.c decides what is done next, pool_look.c asks the Hub which hosts there are,
   pool_host.c brings one of them up, pool_boot.c makes new ones, pool_place.c makes sandboxes on them,
   pool_end.c ends what nobody uses, pool_local.c is all of it for this computer. Lock held throughout. */
#ifndef CLIENT_POOL_H
#define CLIENT_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/job_host.h"
#include "client/job_pages.h"
#include "client/job_request.h"
#include "client/job_wait.h"
#include "client/jobs.h"
#include "client/place.h"
#include "client/pool_cache.h"
#include "client/shared.h"

#define POOL_PER_HOST 50
#define POOL_START_MS 120000
#define POOL_IDLE_MS  600000

struct local_pool;

struct pool_host {
    struct place place; /* first: pool->hosts is a list of places */
    struct sbx_pool *pool;
    char id[JOB_ID_SIZE]; /* "" = the Hub has not said that it made it */
    int64_t created_ms;
    bool booted; /* by this handle */
    bool unsure; /* from the cache: nobody has confirmed it yet */
    bool untold; /* likewise: the Hub has not said what it carries */
    bool seen;   /* by the look under way */
    /* While it starts. */
    unsigned round; /* of boots; 0 = it was found */
    bool runs;      /* as the Hub has listed it: somebody may use it by now */
    struct op *boot;
    struct job_host_settings settings;
    struct job_machine *machine; /* of one that was found, until it has a host */
    struct job_wait wait;
    sbx_timings timings;
    struct hub_call *inspect;
    struct io_timer limit;
    /* Then. */
    struct host *host;
    struct host_call *count;
    bool count_of_look; /* which waits for it */
};

struct pool_post;

struct placing {                 /* a call that waits for its sandbox */
    struct placing *next, *prev; /* of pool->waiting, unless it is in a post */
    struct sbx_pool *pool;       /* held */
    struct op *op;
    char *body; /* what goes into the request besides the count: ",\"env\":{…}" */
    bool detached;
    unsigned rounds;
    struct pool_post *post;
    size_t slot;
    struct io_timer start; /* of local pools: looks at the lock again */
};

struct warming { /* a call that waits for hosts */
    struct warming *next;
    struct sbx_pool *pool; /* held */
    struct op *op;
    unsigned hosts;
    bool connects,
        creates; /* done as soon as there is one, NOT_FOUND when there is none; its result is the pool */
};

struct shunned { /* a host that cannot be used, for a while */
    struct shunned *next;
    char id[JOB_ID_SIZE];
    int64_t until_ms;
};

struct pool_living {
    char id[JOB_ID_SIZE];
    int64_t created_ms;
};

struct sbx_pool {
    int refs;                     /* the handle, each call under way, each sandbox with a handle */
    struct sbx_pool *next, *prev; /* of jobs->pools */
    struct sbx_client *client;    /* kept alive */
    struct jobs *jobs;            /* NULL: a local one */
    struct local_pool *local;
    /* Of the options. */
    char name[LABEL_MAX + 1];
    char image[512], flavor[64], hub_namespace[JOB_NAME_SIZE]; /* namespace "" = none was given */
    unsigned per_host, max_hosts;
    bool spread, stays;
    bool detached;             /* its hosts go on without it: not before it has been given out */
    int64_t idle_ms, start_ms; /* idle SBX_NO_TIMEOUT = none */
    sbx_pool_adopt adopt;
    bool connected;  /* by sbx_pool_connect: it is not brought back */
    bool configured; /* connected: the settings are known */
    bool deleted;
    /* The state. */
    struct place *hosts;
    struct placing *first, *last; /* waiting */
    unsigned waiting;
    struct pool_post *posts;
    struct warming *warmings;
    struct shunned *shunned;
    struct io_timer step;
    /* Growing. */
    struct job_pages look;
    bool looking, look_fresh; /* fresh: begun under the lock */
    bool looked;              /* since somebody last lacked a place */
    size_t counting;          /* hosts that the look asks about their sandboxes */
    sbx_error look_error;
    bool fresh;  /* what the last look has said still holds */
    bool locked; /* only this handle boots now */
    bool driven; /* meanwhile: who called may have got his sandbox otherwise, and drives no more */
    int lock_fd;
    int64_t lock_since_ms, looked_ms;
    unsigned round, posting; /* of boots; those that the Hub has not answered */
    int64_t rest_until;      /* a host that turns away again and again is not asked before */
    bool checking;           /* whether they were the only ones */
    struct pool_living *living;
    size_t living_count, living_room;
    sbx_error refused, failure; /* why a host could not be used; why the last boot failed */
    /* The cache. */
    char *cache_path;
    bool seeded, cache_dirty;
    int64_t cached_ms;
    char (*dead)[JOB_ID_SIZE];
    size_t dead_count;
};

/* pool.c */
void pool_hold(struct sbx_pool *pool);
void pool_release(struct sbx_pool *pool);
bool pool_plain(const struct sbx_pool *pool); /* ids go without the namespace */
void pool_log(struct sbx_pool *pool, const char *id, const char *what, bool warn);

/* pool_step.c */
void pool_step_soon(struct sbx_pool *pool); /* something has changed */
void pool_look_done(struct sbx_pool *pool, const sbx_error *error);
void pool_fail_all(struct sbx_pool *pool, const sbx_error *error); /* who waits, for whatever */
void pool_given_up(struct sbx_pool *pool);                         /* a call has ended without its sandbox */
void pool_warm(struct sbx_pool *pool, struct op *op, unsigned hosts, bool creates, bool connecting);
void pool_doing(const struct sbx_pool *pool, char *out, size_t room); /* for op->doing */

/* pool_look.c */
void pool_look(struct sbx_pool *pool);
void pool_look_at(struct sbx_pool *pool, const struct job *job,
                  const struct json *value);                                    /* takes it in, if it may */
void pool_look_settings(struct sbx_pool *pool, const struct json *environment); /* of one of its hosts */
void pool_look_stop(struct sbx_pool *pool);
void pool_shun(struct sbx_pool *pool, const char *id, int64_t ms);

/* pool_host.c */
void pool_host_settings(struct pool_host *ph, const struct json *environment); /* as the Hub tells them */
struct pool_host *pool_host_of(struct place *place);
struct pool_host *pool_host_find(const struct sbx_pool *pool, const char *id);
struct pool_host *pool_host_new(struct sbx_pool *pool); /* in the list, starting */
void pool_host_drop(struct pool_host *ph);              /* out of the list; a boot under way is given up */
void pool_host_join(struct sbx_pool *pool, const struct job *job,
                    const struct json *value); /* one that was found */
void pool_host_seed(struct sbx_pool *pool, const struct pool_cache_host *known);
void pool_host_ready(struct pool_host *ph, struct sbx_sandbox *agent); /* takes over its reference */
void pool_host_failed(struct pool_host *ph, const sbx_error *error);   /* it cannot be used: drops it */
void pool_host_count(struct pool_host *ph);                            /* asks how many sandboxes it has */

/* pool_boot.c */
void pool_boot(struct sbx_pool *pool, unsigned hosts);
bool pool_boot_beyond(const struct sbx_pool *pool,
                      const struct pool_host *ph); /* as many as may be are older */
void pool_boot_check(
    struct sbx_pool *pool); /* after the look that follows: gives up those that others have made needless */
bool pool_lock(struct sbx_pool *pool); /* false: somebody else boots just now */
void pool_unlock(struct sbx_pool *pool);

/* pool_place.c */
void pool_place(struct op *op, struct sbx_pool *pool, const sbx_sandbox_options *options);
int64_t
pool_posts_due(const struct sbx_pool *pool); /* when all that are under way should have been answered */
void pool_post(struct sbx_pool *pool, struct pool_host *ph, unsigned count); /* for the first that wait */

/* pool_end.c */
void pool_end_host(struct host *host); /* if nobody else uses it; in the background */
void pool_end_machine(struct jobs *jobs, const struct job_machine *m); /* likewise, without a handle */
void pool_end_all(struct jobs *jobs);                                  /* at the program's end */
void pool_delete(struct op *op, struct sbx_pool *pool);

/* pool_survey.c */
void pool_info(struct op *op, struct sbx_pool *pool);
void pool_sandboxes(struct op *op, struct sbx_pool *pool);

/* pool_memory.c */
void pool_memory_seed(struct sbx_pool *pool); /* hosts that this computer remembers */
void pool_memory_save(struct sbx_pool *pool, bool now);
void pool_memory_dead(struct sbx_pool *pool, const char *id);

#endif
