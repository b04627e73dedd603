/* New connections to attached local agents: libcurl connects to a listener of the client's own, and the
 * accepted end is passed to the agent over its control socket.
 *
 * Why so: libcurl 7.88 connects even a socket that it is told is connected, and no version before 8 uses a
 * connection again whose peer has no name in the file system. So the listener gets such a name in the
 * runtime directory, which is removed at once; the inode stays reachable through an open descriptor, by this
 * process alone. A program that is killed just then leaves a name, which the next one removes. */
#ifndef CLIENT_HANDOVER_H
#define CLIENT_HANDOVER_H

#include <stdbool.h>
#include <sys/socket.h>

struct handover {
    int listener, inode; /* -1 = not made yet */
    const char *runtime; /* the option runtime_dir */
};

#define HANDOVER_NAME 16 /* tells which of our sockets an accepted connection comes from */

void handover_init(struct handover *handover, const char *runtime);
void handover_close(struct handover *handover);

/* Removes what killed programs left in a runtime directory. */
void handover_sweep(int runtime);

/* A socket to connect, and the address to connect it to. -1: errno says why. */
int handover_socket(struct handover *handover, char name[HANDOVER_NAME], struct sockaddr *address,
                    socklen_t *len);

/* The next connection that has come, and its name; -1 = none. What is not ours is closed. */
int handover_accept(struct handover *handover, char name[HANDOVER_NAME]);

/* Passes fd over the control socket and closes it here. A failure is what the other end sees then: a lost
 * connection. */
void handover_pass(int control_fd, int fd);

#endif
