/* Every limit of the wire and of the agent, in one table. Bytes and milliseconds unless the name says otherwise. */
#ifndef WIRE_LIMITS_H
#define WIRE_LIMITS_H

#define KIB(n) ((size_t)(n) * 1024)
#define MIB(n) ((size_t)(n) * 1024 * 1024)

/* Requests */
#define LIMIT_HEAD          KIB(64)  /* request line and headers together */
#define LIMIT_HEADERS       100      /* header fields of one request */
#define LIMIT_JSON_BODY     MIB(16)  /* exec and processes */
#define LIMIT_SMALL_BODY    MIB(1)   /* every other JSON body */
#define LIMIT_DRAIN         MIB(1)   /* unread body that is read and thrown away to keep a connection; above it closes */
#define LIMIT_LINGER        MIB(64)  /* taken before the close from who has shown the token: a reset may destroy the error */
#define LIMIT_PIPELINE      KIB(64)  /* bytes of later requests kept while one is answered */
#define LIMIT_CONNECTIONS   8192     /* SBX_MAX_CONNECTIONS overrides it */
#define LIMIT_UNTRUSTED     MIB(16)  /* bytes held for all connections that have not shown the token */
#define LIMIT_JSON_TOKENS   65536    /* so cmd and env have fewer items */
#define LIMIT_JSON_DEPTH    32

#define TIMEOUT_HEAD        10000    /* from the first byte of a head to its end */
#define TIMEOUT_BODY        60000    /* without any byte of a body */
#define TIMEOUT_WRITE       120000   /* without the peer taking any byte of a response, or giving a sign of life */
#define TIMEOUT_IDLE        300000   /* keep-alive without a request */
#define TIMEOUT_LINGER      2000     /* between the last byte sent and the close, while the peer still sends */
#define TIMEOUT_PROXY_CONNECT 5000  /* until a port of the sandbox accepts */
#define TIMEOUT_PROXY_QUIET 60000    /* a proxied client that writes no more, and nothing else moves */
#define INTERVAL_KEEPALIVE  30000    /* silence on a TCP connection before the kernel asks whether the peer is there */
#define INTERVAL_PING       15000    /* silence on a stream before a ping */

/* Processes and their output */
#define LIMIT_STREAM        MIB(1)   /* held bytes of one stream of one process; SBX_STREAM_LIMIT overrides it */
#define LIMIT_SANDBOX_OUT   MIB(8)   /* held bytes of all processes of one sandbox; SBX_SANDBOX_OUTPUT_LIMIT overrides it */
#define LIMIT_AGENT_OUT     MIB(64)  /* held bytes of all sandboxes of one agent; SBX_AGENT_OUTPUT_LIMIT overrides it */
#define LIMIT_FINISHED      256      /* ended processes that stay listed; the oldest are forgotten first */
#define LIMIT_PROCESSES     4096     /* running commands of one sandbox */
#define LIMIT_STDIN_PENDING KIB(256) /* input taken from the wire and not yet by the command */
#define LIMIT_ARGUMENTS     65536    /* items of a local sandbox's env */
#define TIMEOUT_TREE_KILL   5000     /* how long a tree is killed again and again before survivors are reported */
#define TIMEOUT_DRAIN_EXIT  2000     /* after the leader's end, reading what its pipes still hold */

/* Files */
#define LIMIT_LIST_PAGE     10000
#define LIMIT_LIST_PAGE_MAX 50000
#define LIMIT_FILE_CHUNK    KIB(256) /* one read or write of a worker */
#define LIMIT_PARTS_LEFT    1024     /* the number up to which descriptors are kept to watch unfinished files of writes in parts */
#define TIMEOUT_PARTS       600000   /* between two looks at one; it is removed when nothing was written to it meanwhile */

/* Names */
#define LIMIT_TAG           256
#define LIMIT_PATH          4096

/* The host side of local sandboxes */
#define INTERVAL_WATCH      100      /* between two looks at a sandbox's total memory */
#define INTERVAL_DISK       500      /* between two looks at what the files of a sandbox of host mode take */
#define LIMIT_BINDS         64

#endif
