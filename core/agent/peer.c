/* A connection from this machine has both its ends in this network namespace, and the kernel tells whose the
   other one is. It tells nothing of a socket that was closed already, behind a request that still waits here;
   then the address says whether it was one of this machine's. */
#include "agent/peer.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/conn.h"
#include "agent/syscalls.h"
#include "agent/tenant.h"
#include "util/scope.h"
#include "util/testing.h"

#define STATE_SYN_SENT 2 /* as the kernel numbers them */
#define STATE_LISTEN   10

static int sockets = -1, routes = -1;
static uint32_t sequence;

/* One end of a connection. An IPv4 address is that also when it came mapped into IPv6. */
struct end {
    int family;
    uint16_t port; /* as on the wire, like the address */
    uint32_t address[4], scope;
};

union answer {
    struct nlmsghdr head;
    char bytes[512]; /* what does not fit is of no interest */
};

static int netlink(int protocol) {
    return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
}

/* The kernel answers within the call that asks. The error that it answers with, 0, or -1: no answer. */
static int ask(int fd, struct nlmsghdr *question, uint16_t type, union answer *out, size_t least) {
    const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    struct nlmsgerr error;
    question->nlmsg_seq = ++sequence;
    question->nlmsg_flags = NLM_F_REQUEST;
    if (sendto(fd, question, question->nlmsg_len, MSG_DONTWAIT, (const struct sockaddr *)&kernel,
               sizeof kernel) < 0)
        return -1;
    for (;;) {
        ssize_t n = recv(fd, out, sizeof *out, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < (ssize_t)sizeof out->head) return -1;
        if (out->head.nlmsg_seq != sequence) continue;
        if (out->head.nlmsg_type != NLMSG_ERROR)
            return out->head.nlmsg_type == type && (size_t)n >= NLMSG_LENGTH(least) ? 0 : -1;
        if ((size_t)n < NLMSG_LENGTH(sizeof error)) return -1;
        memcpy(&error, NLMSG_DATA(&out->head), sizeof error);
        return error.error < 0 ? -error.error : -1;
    }
}

enum owner { OWNER_NONE, OWNER_UNKNOWN, OWNER_TOLD };

/* Whose socket it is whose own end is `from`. */
static enum owner owner_of(const struct end *from, const struct end *to, uid_t *uid) {
    struct {
        struct nlmsghdr head;
        struct inet_diag_req_v2 body;
    } q = {
        .head = {.nlmsg_len = sizeof q, .nlmsg_type = SOCK_DIAG_BY_FAMILY},
        .body = {.sdiag_family = (uint8_t)from->family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = ~0U}};
    union answer a;
    struct inet_diag_msg m;
    struct inet_diag_sockid *id = &q.body.id;
    id->idiag_sport = from->port;
    id->idiag_dport = to->port;
    memcpy(id->idiag_src, from->address, sizeof from->address);
    memcpy(id->idiag_dst, to->address, sizeof to->address);
    id->idiag_if = from->scope;
    id->idiag_cookie[0] = id->idiag_cookie[1] = INET_DIAG_NOCOOKIE;
    int error = ask(sockets, &q.head, SOCK_DIAG_BY_FAMILY, &a, sizeof m);
    if (error != 0) return error == ENOENT ? OWNER_NONE : OWNER_UNKNOWN;
    memcpy(&m, NLMSG_DATA(&a.head), sizeof m);
    /* Where there is no such connection, the kernel offers who listens at that port. */
    if (m.idiag_state == STATE_LISTEN && to->port != 0) return OWNER_NONE;
    *uid = m.idiag_uid;
    bool closed = m.idiag_inode == 0 && !testing_off("peer-closed");
    return closed || m.idiag_state == STATE_SYN_SENT ? OWNER_UNKNOWN : OWNER_TOLD;
}

/* Whether an address is surely none of this machine. */
static bool is_elsewhere(const struct end *e) {
    const size_t size = e->family == AF_INET ? 4 : 16;
    struct {
        struct nlmsghdr head;
        struct rtmsg body;
        struct rtattr to;
        uint32_t address[4];
        struct rtattr by; /* IPv6 alone has it */
        uint32_t interface;
    } q = {.head = {.nlmsg_len = sizeof q, .nlmsg_type = RTM_GETROUTE},
           .body = {.rtm_family = (uint8_t)e->family, .rtm_dst_len = (uint8_t)(8 * size)},
           .to = {.rta_len = (uint16_t)RTA_LENGTH(size), .rta_type = RTA_DST},
           .by = {.rta_len = RTA_LENGTH(sizeof e->scope), .rta_type = RTA_OIF},
           .interface = e->scope};
    union answer a;
    struct rtmsg route;
    memcpy(q.address, e->address, size);
    if (e->scope == 0) q.head.nlmsg_len = (uint32_t)(NLMSG_LENGTH(sizeof q.body) + RTA_LENGTH(size));
    int error = ask(routes, &q.head, RTM_NEWROUTE, &a, sizeof route);
    if (error != 0) return error == ENETUNREACH || error == EHOSTUNREACH || error == EACCES;
    memcpy(&route, NLMSG_DATA(&a.head), sizeof route);
    return route.rtm_type == RTN_UNICAST || route.rtm_type >= RTN_BLACKHOLE;
}

static bool end_of(struct end *e, int (*name)(int, struct sockaddr *, socklen_t *), int fd) {
    struct sockaddr_in6 a = {.sin6_family = AF_UNSPEC};
    socklen_t size = sizeof a;
    if (name(fd, (struct sockaddr *)&a, &size) != 0) return false;
    *e = (struct end){.family = a.sin6_family, .port = a.sin6_port};
    if (a.sin6_family == AF_INET) {
        e->address[0] = ((struct sockaddr_in *)(void *)&a)->sin_addr.s_addr;
    } else if (IN6_IS_ADDR_V4MAPPED(&a.sin6_addr)) {
        e->family = AF_INET;
        memcpy(e->address, &a.sin6_addr.s6_addr[12], 4);
    } else {
        memcpy(e->address, &a.sin6_addr, sizeof e->address);
        e->scope = a.sin6_scope_id;
    }
    return e->family == AF_INET || e->family == AF_INET6;
}

static bool is_admitted(int fd) {
    struct end peer, own;
    uid_t uid = 0;
    if (sockets < 0) return true;
    if (!end_of(&peer, getpeername, fd) || !end_of(&own, getsockname, fd)) return false;
    enum owner owner = owner_of(&peer, &own, &uid);
    if (owner == OWNER_UNKNOWN || (owner == OWNER_TOLD && tenants_own(uid))) return false;
    if (owner == OWNER_NONE && !testing_off("peer-gone") && !is_elsewhere(&peer)) return false;
    /* Without a peer, what was found may be the next one at the same port. */
    return end_of(&peer, getpeername, fd);
}

bool peer_open(int fd) {
    if (is_admitted(fd)) return conn_open(fd);
    close(fd);
    return false;
}

/* Some kernels have such sockets, and nothing behind them that knows TCP. */
static bool tells_owners(void) {
    struct sockaddr_in loopback = {.sin_family = AF_INET};
    const struct end nobody = {.family = AF_INET};
    struct end own;
    uid_t uid;
    loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cleanup_fd int fd = sys_socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC);
    return fd >= 0 && bind(fd, (struct sockaddr *)&loopback, sizeof loopback) == 0 && listen(fd, 1) == 0 &&
           end_of(&own, getsockname, fd) && owner_of(&own, &nobody, &uid) == OWNER_TOLD && uid == geteuid();
}

bool peer_init(const struct confine_config *c, struct confine_error *e) {
    (void)c;
    sockets = netlink(NETLINK_SOCK_DIAG);
    routes = sockets >= 0 ? netlink(NETLINK_ROUTE) : -1;
    if (routes >= 0 && tells_owners()) return true;
    int error = errno;
    if (routes >= 0) close(routes);
    if (sockets >= 0) close(sockets);
    routes = sockets = -1;
    return confine_fail(
        e, "agent-port", error,
        "use a kernel with CONFIG_INET_DIAG, or allow weaker sandboxes with --allow-unconfined",
        "the kernel does not tell whose a connection from this machine is");
}
