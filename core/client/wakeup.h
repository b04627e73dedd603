/* libcurl before 8.9 makes the two sockets by which a multi handle is woken without close-on-exec, and does
   not tell which they are: programs that the host program starts would inherit them. */
#ifndef CLIENT_WAKEUP_H
#define CLIENT_WAKEUP_H

struct wakeup {
    void (*wake)(void *ctx); /* makes one byte readable at the one end */
    void (*calm)(void *ctx); /* takes it away */
    void *ctx;
    int hint; /* wakeup_hint(), called just before the handle was made */
};

/* Where the first of the two will stand, unless another thread opens something: saves looking at all. */
int wakeup_hint(void);

/* Finds the two by what wake and calm do to them, so that no descriptor of the host program is ever taken for
   one, and marks them. Without /proc nothing happens. */
void wakeup_seal(const struct wakeup *wakeup);

#endif
