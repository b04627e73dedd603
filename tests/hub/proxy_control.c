#include "proxy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Commands are packets of words separated by tabs; each is answered by one packet, "ok ..." or "error ...":

       listen  tls|plain                              with a listening socket
       tls     <certificate file> <key file>
       default key=value...                           settings of jobs to come, and of requests without one
       job     <id> <namespace> key=value...          makes it or changes it; with its network namespace once
   it runs; ports=1,2 public=2 besides the settings end     <id> token   <token> <namespace>... fault   <id>
   key=value...                      see struct fault; the text after "headers=" and "body=" may have %XX
       nofault [<id>]
       seed    <number>
       record  on|off
       stats                                          "ok connections=.. opened=.. <fault>=<hits>..." */

#define PACKET 16384
#define WORDS  64

struct listener {
    struct watch watch;
    struct listener *next;
    int fd;
    bool tls;
};

static struct listener *listeners;
static struct watch control;
static int control_fd = -1;

static void accept_all(struct watch *w, uint32_t events) {
    struct listener *l = (struct listener *)w;
    (void)events;
    for (;;) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            pair_open(fd, l->tls);
        else if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

static const char *listen_command(char **words, size_t count, int *fd) {
    struct listener *l = count < 2 || *fd < 0 ? NULL : calloc(1, sizeof *l);
    if (l == NULL) return "error no socket";
    *l = (struct listener){
        .watch.ready = accept_all, .next = listeners, .fd = *fd, .tls = strcmp(words[1], "tls") == 0};
    *fd = -1;
    (void)fcntl(l->fd, F_SETFL, O_NONBLOCK);
    listeners = l;
    return loop_watch(l->fd, &l->watch) ? "ok" : "error cannot watch it";
}

static bool parse_ports(unsigned *ports, const char *text) {
    size_t n = 0;
    memset(ports, 0, PORTS_MAX * sizeof *ports);
    while (*text != '\0' && n < PORTS_MAX) {
        char *end;
        ports[n++] = (unsigned)strtoul(text, &end, 10);
        if (end == text || (*end != ',' && *end != '\0')) return false;
        text = *end == ',' ? end + 1 : end;
    }
    return true;
}

static char *split(char *word) {
    char *equals = strchr(word, '=');
    if (equals == NULL) return NULL;
    *equals = '\0';
    return equals + 1;
}

static const char *job_command(char **words, size_t count, int *fd) {
    struct job *job = count < 3 ? NULL : table_add_job(words[1], words[2]);
    if (job == NULL) return "error no such job can be";
    for (size_t i = 3; i < count; i++) {
        char *value = split(words[i]);
        if (value == NULL) return "error key=value is expected";
        bool known = strcmp(words[i], "ports") == 0    ? parse_ports(job->ports, value)
                     : strcmp(words[i], "public") == 0 ? parse_ports(job->public_ports, value)
                                                       : table_set(&job->set, words[i], value);
        if (!known) return "error unknown key";
    }
    if (*fd >= 0) {
        if (job->netns >= 0) close(job->netns);
        job->netns = *fd;
        *fd = -1;
    }
    return "ok";
}

static const char *default_command(char **words, size_t count) {
    for (size_t i = 1; i < count; i++) {
        char *value = split(words[i]);
        if (value == NULL || !table_set(&table_defaults, words[i], value)) return "error unknown key";
    }
    return "ok";
}

static bool copy_decoded(char *to, size_t size, const char *from) {
    size_t n = 0;
    for (; *from != '\0' && n + 1 < size; from++) {
        char two[3] = {0};
        if (*from == '%' && from[1] != '\0' && from[2] != '\0') {
            memcpy(two, from + 1, 2);
            from += 2;
            to[n++] = (char)strtol(two, NULL, 16);
        } else
            to[n++] = *from;
    }
    to[n] = '\0';
    return *from == '\0';
}

static bool set_fault(struct fault *f, const char *key, const char *value) {
    static const char *const kinds[] = {"none",      "status",      "cut", "lose-reply",
                                        "cut-reply", "cut-request", "hang"};
    struct {
        const char *key;
        char *to;
        size_t size;
    } texts[] = {{"job", f->job, sizeof f->job},
                 {"method", f->method, sizeof f->method},
                 {"path", f->path, sizeof f->path},
                 {"headers", f->headers, sizeof f->headers},
                 {"body", f->body, sizeof f->body}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (strcmp(key, texts[i].key) == 0) return copy_decoded(texts[i].to, texts[i].size, value);
    if (strcmp(key, "kind") == 0) {
        for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
            if (strcmp(value, kinds[i]) == 0) {
                f->kind = (enum fault_kind)i;
                return true;
            }
        return false;
    }
    if (strcmp(key, "rate") == 0) {
        f->rate = strtod(value, NULL);
        return true;
    }
    long long number = strtoll(value, NULL, 10);
    if (strcmp(key, "port") == 0)
        f->port = (unsigned)number;
    else if (strcmp(key, "skip") == 0)
        f->skip = (long)number;
    else if (strcmp(key, "count") == 0)
        f->count = (long)number;
    else if (strcmp(key, "status") == 0)
        f->status = (int)number;
    else if (strcmp(key, "bytes") == 0)
        f->bytes = (uint64_t)number;
    else if (strcmp(key, "delay_us") == 0)
        f->delay_us = number;
    else if (strcmp(key, "orderly") == 0)
        f->orderly = number != 0;
    else
        return false;
    return true;
}

static const char *fault_command(char **words, size_t count) {
    struct fault *f = count < 2 || strlen(words[1]) >= NAME_MAX_LEN ? NULL : table_add_fault();
    if (f == NULL) return "error no name";
    strcpy(f->id, words[1]);
    for (size_t i = 2; i < count; i++) {
        char *value = split(words[i]);
        if (value == NULL || !set_fault(f, words[i], value)) {
            table_remove_fault(words[1]);
            return "error unknown key or value";
        }
    }
    return "ok";
}

static const char *stats(void) {
    static char text[PACKET];
    int n = snprintf(text, sizeof text, "ok\tconnections=%zu\topened=%lu", pair_count(), upstream_opened);
    for (const struct fault *f = table_faults(); f != NULL && n < (int)sizeof text - 200; f = f->next)
        n += snprintf(text + n, sizeof text - (size_t)n, "\t%s=%lu", f->id, f->hits);
    return text;
}

static const char *command(char **words, size_t count, int *fd) {
    const char *verb = words[0];
    if (strcmp(verb, "listen") == 0) return listen_command(words, count, fd);
    if (strcmp(verb, "job") == 0) return job_command(words, count, fd);
    if (strcmp(verb, "default") == 0) return default_command(words, count);
    if (strcmp(verb, "fault") == 0) return fault_command(words, count);
    if (strcmp(verb, "stats") == 0) return stats();
    if (strcmp(verb, "tls") == 0 && count == 3)
        return stream_tls_setup(words[1], words[2]) ? "ok" : "error that certificate cannot be used";
    if (strcmp(verb, "end") == 0 && count == 2) {
        struct job *job = table_job(words[1]);
        if (job != NULL) table_end_job(job);
    } else if (strcmp(verb, "token") == 0 && count >= 2)
        table_set_token(words[1], words + 2, count - 2);
    else if (strcmp(verb, "nofault") == 0)
        table_remove_fault(count > 1 ? words[1] : "");
    else if (strcmp(verb, "seed") == 0 && count == 2)
        table_seed(strtoull(words[1], NULL, 10));
    else if (strcmp(verb, "record") == 0 && count == 2)
        table_record = strcmp(words[1], "on") == 0;
    else
        return "error unknown command";
    return "ok";
}

/* The length, with the descriptor that came along or -1; 0 at the end. */
static ssize_t receive(char *text, int *fd) {
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } ancillary;
    struct iovec part = {.iov_base = text, .iov_len = PACKET - 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary};
    *fd = -1;
    ssize_t n = recvmsg(control_fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    struct cmsghdr *header = n < 0 ? NULL : CMSG_FIRSTHDR(&message);
    if (header != NULL && header->cmsg_type == SCM_RIGHTS) memcpy(fd, CMSG_DATA(header), sizeof *fd);
    return n;
}

static void control_ready(struct watch *w, uint32_t events) {
    static char text[PACKET];
    (void)w, (void)events;
    for (;;) {
        int fd;
        ssize_t n = receive(text, &fd);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            loop_end = true;
            return;
        }
        text[n] = '\0';
        char *words[WORDS], *rest = text;
        size_t count = 0;
        while (rest != NULL && count < WORDS)
            words[count++] = strsep(&rest, "\t");
        const char *answer = command(words, count, &fd);
        if (fd >= 0) close(fd);
        (void)!send(control_fd, answer, strlen(answer), MSG_NOSIGNAL);
    }
}

bool control_start(int fd) {
    control_fd = fd;
    control.ready = control_ready;
    return loop_watch(fd, &control);
}

void control_free(void) {
    while (listeners != NULL) {
        struct listener *next = listeners->next;
        close(listeners->fd);
        free(listeners);
        listeners = next;
    }
}
