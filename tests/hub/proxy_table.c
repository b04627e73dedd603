#include "proxy.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/clock.h"

#define BUCKETS 1024

struct token {
    struct token *next;
    char text[160];
    char namespaces[8][NAME_MAX_LEN];
    size_t count;
};

struct settings table_defaults = {
    .unready = 502, .gone = 404, .no_token = 401, .no_access = 403, .no_port = 404, .reuse = true};
bool table_record = true;

static struct job *jobs[BUCKETS];
static struct token *tokens;
static struct fault *faults, **faults_end = &faults;
static uint64_t chance = 88172645463325252U;

/* -- jobs */

static size_t bucket(const char *id) {
    size_t hash = 5381;
    while (*id != '\0')
        hash = hash * 33 + (unsigned char)*id++;
    return hash % BUCKETS;
}

struct job *table_job(const char *id) {
    struct job *job = jobs[bucket(id)];
    while (job != NULL && strcmp(job->id, id) != 0)
        job = job->next;
    return job;
}

struct job *table_add_job(const char *id, const char *ns) {
    struct job *job = table_job(id);
    if (job != NULL || strlen(id) >= NAME_MAX_LEN || strlen(ns) >= NAME_MAX_LEN) return job;
    job = calloc(1, sizeof *job);
    if (job == NULL) return NULL;
    strcpy(job->id, id);
    strcpy(job->ns, ns);
    job->netns = -1;
    job->set = table_defaults;
    job->next = jobs[bucket(id)];
    return jobs[bucket(id)] = job;
}

void table_end_job(struct job *job) {
    job->ended = true;
    upstream_drop_idle(job);
    if (job->netns >= 0) close(job->netns);
    job->netns = -1;
}

bool table_set(struct settings *set, const char *key, const char *value) {
    long long number = strtoll(value, NULL, 10);
    struct {
        const char *key;
        int *to;
    } statuses[] = {{"unready", &set->unready},
                    {"gone", &set->gone},
                    {"no_token", &set->no_token},
                    {"no_access", &set->no_access},
                    {"no_port", &set->no_port}};
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        if (strcmp(key, statuses[i].key) == 0) {
            *statuses[i].to = (int)number;
            return true;
        }
    if (strcmp(key, "rtt_us") == 0)
        set->rtt_us = number;
    else if (strcmp(key, "window") == 0)
        set->window = (size_t)number;
    else if (strcmp(key, "reuse") == 0)
        set->reuse = number != 0;
    else if (strcmp(key, "max_body") == 0)
        set->max_body = (uint64_t)number;
    else
        return false;
    return true;
}

/* -- tokens */

void table_set_token(const char *text, char **namespaces, size_t count) {
    struct token **at = &tokens;
    while (*at != NULL && strcmp((*at)->text, text) != 0)
        at = &(*at)->next;
    struct token *token = *at;
    if (count == 0) {
        if (token != NULL) *at = token->next;
        free(token);
        return;
    }
    if (strlen(text) >= sizeof token->text) return;
    if (token == NULL && (token = *at = calloc(1, sizeof *token)) == NULL) return;
    strcpy(token->text, text);
    token->count = 0;
    for (size_t i = 0; i < count && i < 8; i++)
        if (strlen(namespaces[i]) < NAME_MAX_LEN) strcpy(token->namespaces[token->count++], namespaces[i]);
}

static const struct token *find_token(struct slice authorization) {
    if (authorization.len < 8 || !slice_is((struct slice){authorization.p, 7}, "bearer ")) return NULL;
    const char *text = authorization.p + 7;
    size_t len = authorization.len - 7;
    for (const struct token *t = tokens; t != NULL; t = t->next)
        if (strlen(t->text) == len && memcmp(t->text, text, len) == 0) return t;
    return NULL;
}

static bool listed(const unsigned *ports, unsigned port) {
    for (size_t i = 0; i < PORTS_MAX && ports[i] != 0; i++)
        if (ports[i] == port) return true;
    return false;
}

int table_check(const struct job *job, unsigned port, struct slice authorization) {
    if (job != NULL && listed(job->public_ports, port)) return job->ended ? job->set.gone : 200;
    const struct token *token = find_token(authorization);
    if (token == NULL) return job == NULL ? table_defaults.no_token : job->set.no_token;
    if (job == NULL) return table_defaults.gone;
    for (size_t i = 0; i < token->count; i++)
        if (strcmp(token->namespaces[i], job->ns) == 0) {
            if (job->ended) return job->set.gone;
            return listed(job->ports, port) ? 200 : job->set.no_port;
        }
    return job->set.no_access;
}

/* -- faults */

struct fault *table_add_fault(void) {
    struct fault *fault = calloc(1, sizeof *fault);
    if (fault == NULL) return NULL;
    fault->count = -1;
    fault->rate = 1;
    *faults_end = fault;
    faults_end = &fault->next;
    return fault;
}

/* All of them for "". */
void table_remove_fault(const char *id) {
    for (struct fault **at = &faults; *at != NULL;) {
        struct fault *fault = *at;
        if (*id != '\0' && strcmp(fault->id, id) != 0) {
            at = &fault->next;
            continue;
        }
        *at = fault->next;
        free(fault);
    }
    faults_end = &faults;
    while (*faults_end != NULL)
        faults_end = &(*faults_end)->next;
}

void table_seed(uint64_t seed) {
    chance = seed != 0 ? seed : 1;
}

static double random_share(void) {
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return (double)(chance >> 11) / (double)(1ULL << 53);
}

static bool matches(const struct fault *f, const char *job, unsigned port, struct slice method,
                    struct slice target) {
    return (f->job[0] == '\0' || strcmp(f->job, job) == 0) && (f->port == 0 || f->port == port) &&
           (f->method[0] == '\0' || slice_is(method, f->method)) &&
           (f->path[0] == '\0' || memmem(target.p, target.len, f->path, strlen(f->path)) != NULL);
}

const struct fault *table_fault(const char *job, unsigned port, struct slice method, struct slice target) {
    for (struct fault *f = faults; f != NULL; f = f->next) {
        if (f->count == 0 || !matches(f, job, port, method, target)) continue;
        if (f->skip > 0) {
            f->skip--;
            continue;
        }
        if (f->rate < 1 && random_share() >= f->rate) continue;
        if (f->count > 0) f->count--;
        f->hits++;
        return f;
    }
    return NULL;
}

const struct fault *table_faults(void) {
    return faults;
}

void table_free(void) {
    table_remove_fault("");
    while (tokens != NULL) {
        struct token *next = tokens->next;
        free(tokens);
        tokens = next;
    }
    for (size_t i = 0; i < BUCKETS; i++)
        while (jobs[i] != NULL) {
            struct job *next = jobs[i]->next;
            table_end_job(jobs[i]);
            free(jobs[i]);
            jobs[i] = next;
        }
}
